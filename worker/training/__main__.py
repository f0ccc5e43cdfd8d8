"""`python -m worker.training`: one attempt of a training job, in its job folder."""

import sys

from worker.jobprocess import JobProcess, run_job


def _train(process: JobProcess) -> None:
    from worker.training.job import train_and_export  # noqa: PLC0415 - SIGTERM must count while torch loads

    train_and_export(process)


if __name__ == "__main__":
    sys.exit(run_job(_train))
