"""`python -m worker.standby <entrypoint>`: a job process ahead of its job, in the sandbox that the job will have.

Life: started by an agent whose instance has nothing to do → loads what the entrypoint needs and touches it once, so
that nothing is loaded lazily later → reads one line from its standard input → becomes the entrypoint, as `python -m`
would start it: same arguments, environment, folder, descriptors. A line that never comes (its agent closed the pipe or
died) is the end. It serves one job, and before that line it is told nothing of any.

SIGTERM waits from the first instruction on until the job's own handler is there (`worker.jobprocess`), so an early
stop is the job's to answer, loaded or not.
"""

import importlib
import os
import runpy
import signal
import sys

PRELOADS = {"worker.training": "worker.training.preload"}
"""Entrypoint → the module whose `preload` makes everything ready; others load nothing ahead."""


def main() -> None:
    """Load, wait, become the job."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    entrypoint = sys.argv[1]
    if entrypoint in PRELOADS:
        importlib.import_module(PRELOADS[entrypoint]).preload()
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 256)
        if not more:
            return
        line += more
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    entrypoint = line.strip().decode()
    sys.argv = [entrypoint]
    runpy.run_module(entrypoint, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:  # noqa: PLR2004 - itself and the entrypoint
        main()
    else:
        sys.exit("python -m worker.standby <entrypoint>")
