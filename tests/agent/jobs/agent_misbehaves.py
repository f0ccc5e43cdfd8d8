"""A job that goes wrong in the way its parameters name."""

import os
import signal
import sys
import time
from pathlib import Path

from backend.core.wire import Failure
from worker.jobprocess import FAILED_EXIT_CODE, JobProcess


def main() -> int:
    process = JobProcess.open()
    match process.spec.parameters["how"]:
        case "memory":
            held = []
            while True:
                held.append(b"x" * (8 << 20))
        case "forks":
            children = 0
            try:
                while children < 500:
                    if os.fork() == 0:
                        time.sleep(20)
                        os._exit(0)
                    children += 1
            except OSError as error:
                print(f"forked {children} then {error.strerror}")
            return 3
        case "disk":
            for number in range(1000):
                (process.work_folder / str(number)).write_bytes(os.urandom(1 << 20))
                time.sleep(0.005)
            time.sleep(20)
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("deaf")
            time.sleep(60)
        case "crash":
            for number in range(30):
                print(f"line {number}")
            sys.exit(7)
        case "told":
            process.failed(Failure(failure_class="capacity", reason="I excuse myself"))
            return FAILED_EXIT_CODE
        case "flood":
            for _ in range(40_000):
                sys.stdout.write("y" * 99 + "\n")
            sys.stdout.write("z" * 100_000 + "\n")
            time.sleep(1.2)
            print("after the flood")
            folder = process.work_folder / "result"
            folder.mkdir()
            Path(folder / "a").write_text("a")
            process.result_written(folder, {})
        case "silent":
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
