"""A job that keeps a child process busy, holds memory and writes to its disk, for `seconds`."""

import os
import subprocess
import sys
import time

from worker.jobprocess import JobProcess

HELD_BYTES = 120 << 20
WRITTEN_BYTES = 8 << 20
SPIN = "while True: pass"


def main() -> int:
    process = JobProcess.open()
    held = b"\x01" * HELD_BYTES
    busy = subprocess.Popen([sys.executable, "-c", SPIN])
    deadline = time.monotonic() + process.spec.parameters["seconds"]
    with (process.work_folder / "scratch").open("wb") as file:
        while time.monotonic() < deadline:
            file.seek(0)
            file.write(held[:WRITTEN_BYTES])
            os.fsync(file.fileno())
            time.sleep(0.2)
    busy.kill()
    busy.wait()
    folder = process.work_folder / "result"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"model")
    process.result_written(folder, {"cpu_seconds": time.process_time()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
