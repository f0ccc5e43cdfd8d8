"""A small job: steps of 50 ms with progress, metrics, lines and checkpoints; stops on SIGTERM with a checkpoint."""

import json
import sys
import time
from pathlib import Path

from backend.core.wire import MetricSeries
from worker.jobprocess import STOPPED_EXIT_CODE, JobProcess


def save(process: JobProcess, step: int) -> None:
    folder = process.work_folder / f"checkpoint-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    process.checkpoint_written(step, folder)


def main() -> int:
    process = JobProcess.open()
    step = 0
    if process.checkpoint_folder is not None:
        step = json.loads((process.checkpoint_folder / "state.json").read_text())["step"]
    process.log(f"begins at step {step}")
    total = process.spec.parameters["steps"]
    while step < total:
        time.sleep(0.05)
        step += 1
        process.progress(step, total, "sleeping")
        process.metrics([MetricSeries(name="step", steps=[step], values=[float(step)], times=[time.time()])])
        if process.stop_requested:
            save(process, step)
            process.log(f"stops at step {step}")
            return STOPPED_EXIT_CODE
        if step % 10 == 0:
            save(process, step)
    files = sorted(str(path) for path in Path("input").rglob("*") if path.is_file())
    folder = process.work_folder / "result" / "deep"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"model" * 1000)
    process.result_written(folder.parent, {"steps": total, "inputs": files})
    process.log("ends")
    return 0


if __name__ == "__main__":
    sys.exit(main())
