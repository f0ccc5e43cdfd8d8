"""`python -m worker.compression`: one attempt of a compression job, in its job folder."""

import sys

from worker.jobprocess import JobProcess, run_job


def _compress(process: JobProcess) -> None:
    from worker.compression.job import compress  # noqa: PLC0415 - SIGTERM must count while the quantizer loads

    compress(process)


if __name__ == "__main__":
    sys.exit(run_job(_compress))
