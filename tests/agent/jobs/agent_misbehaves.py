"""A job that goes wrong in the way its parameters name."""

import os
import signal
import sys
import time

from backend.core.wire import Failure
from worker.jobprocess import FAILED_EXIT_CODE, JobProcess


def memory(_process: JobProcess) -> int:
    held = []
    while True:
        held.append(b"x" * (8 << 20))


def forks(process: JobProcess) -> int:
    children = 0
    try:
        while children < 500:
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            children += 1
    except OSError as error:
        process.log(f"forked {children} then {error.strerror}")
    return 3


def disk(process: JobProcess) -> int:
    for number in range(1000):
        (process.work_folder / str(number)).write_bytes(os.urandom(1 << 20))
        time.sleep(0.005)
    time.sleep(20)
    return 0


def deaf(process: JobProcess) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.log("deaf")
    time.sleep(60)
    return 0


def crash(process: JobProcess) -> int:
    for number in range(30):
        process.log(f"line {number}")
    return 7


def told(process: JobProcess) -> int:
    process.failed(Failure(failure_class="capacity", reason="I excuse myself"))
    return FAILED_EXIT_CODE


def flood(process: JobProcess) -> int:
    for _ in range(40_000):
        sys.stdout.write("y" * 99 + "\n")
    sys.stdout.write("z" * 100_000 + "\n")
    time.sleep(1.2)
    process.log("after the flood")
    folder = process.work_folder / "result"
    folder.mkdir()
    (folder / "a").write_text("a")
    process.result_written(folder, {})
    return 0


def silent(_process: JobProcess) -> int:
    return 0


WAYS = {way.__name__: way for way in (memory, forks, disk, deaf, crash, told, flood, silent)}

if __name__ == "__main__":
    opened = JobProcess.open()
    sys.exit(WAYS[opened.spec.parameters["how"]](opened))
