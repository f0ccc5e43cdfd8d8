"""MLServer: two parallel workers, batches of 32, 2 ms."""

import json
import os
import shutil
import sys
from pathlib import Path

from sessions import BATCH, WINDOW_SECONDS, arguments

if __name__ == "__main__":
    model, port, folder = arguments()
    here = Path(__file__).parent
    digits = folder / "digits"
    digits.mkdir(parents=True, exist_ok=True)
    for name in ("mlserver_runtime.py", "sessions.py"):
        shutil.copy(here / name, folder)
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    settings |= {"debug": False, "parallel_workers": 2, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps(settings))
    described = {"name": "digits", "implementation": "mlserver_runtime.Digits", "parameters": {"uri": model}}
    described |= {"max_batch_size": BATCH, "max_batch_time": WINDOW_SECONDS}
    (digits / "model-settings.json").write_text(json.dumps(described))
    program = str(Path(sys.executable).parent / "mlserver")
    os.environ["PYTHONPATH"] = str(folder)
    os.execv(program, [program, "start", str(folder)])  # noqa: S606 - no shell is meant
