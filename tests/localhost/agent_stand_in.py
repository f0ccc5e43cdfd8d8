"""What a machine runs in these tests: a process with children that try to get away.

`python agent_stand_in.py --folder DIR`: starts a plain child, one in a session of its own, and one without the
environment and twice orphaned; makes a folder for sockets and
writes all pids to DIR/pids; ends on SIGTERM unless MODELYARD_TEST_STUBBORN.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--folder") + 1])
if os.environ.get("MODELYARD_TEST_STUBBORN"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
plain = subprocess.Popen(["/bin/sleep", "300"])
apart = subprocess.Popen(["/bin/sleep", "300"], start_new_session=True)
script = "setsid sleep 300 >/dev/null & echo $!"
orphan = subprocess.run(["/bin/sh", "-c", script], env={}, stdout=subprocess.PIPE, check=True, text=True)
pids = [os.getpid(), plain.pid, apart.pid, int(orphan.stdout)]
(Path(os.environ["MODELYARD_AGENT_RUNTIME"]) / f"sockets-of-{os.getpid()}").mkdir()
(folder / "environment").write_text(os.environ["MODELYARD_INSTANCE_TOKEN"])
(folder / "pids.new").write_text(" ".join(map(str, pids)))
(folder / "pids.new").rename(folder / "pids")
time.sleep(300)
