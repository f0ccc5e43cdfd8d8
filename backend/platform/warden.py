"""Two processes, so that a kill -9 of either leaves nothing: the warden, and the supervisor it forks.

The warden is the process that a person started, and whose id is in `run.lock`. It holds no state
and does nothing but pass SIGTERM, SIGINT and SIGHUP on, and wait.

- Warden killed: the supervisor's death signal is SIGTERM: an orderly stop.
- Supervisor killed: its children get their own death signals from the kernel; their children
  fall to the warden, a subreaper, which asks them to end, waits a grace and kills what is left.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from backend.platform.processes import become_subreaper, descendants, kill_until_gone, reap_orphans, send

_FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1
# Longer than the local provider gives its machines.
_GRACE_SECONDS = 30.0


def guarded(body: Callable[[], int], *, say: Callable[[str], None]) -> int:
    """Run `body` in a forked process (own session, main thread) and guard it. Returns its exit status."""
    become_subreaper()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    warden = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_supervisor(body, warden)
    try:
        status = _forward_until_ended(pid)
        if status < 0:
            say(f"the supervisor was killed by {signal.Signals(-status).name}; ending what it ran")
            status = 1
        _end_stragglers()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return status


def _be_supervisor(body: Callable[[], int], warden: int) -> None:
    """In the forked process: never returns into the caller's code."""
    status = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == warden:
            status = body()
    except BaseException:  # noqa: BLE001 # whatever it was, this process must not run its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _forward_until_ended(pid: int) -> int:
    while True:
        received = signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        if received.si_signo != signal.SIGCHLD:
            os.kill(pid, received.si_signo)
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        reap_orphans(keep={pid})


def _end_stragglers() -> None:
    """Ask what the supervisor left to end, give it a grace, then kill it."""
    own = os.getsid(0)
    for process in descendants(outside_session=own):
        send(process, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while descendants(outside_session=own) and time.monotonic() < deadline:
        time.sleep(0.05)
        reap_orphans()
    kill_until_gone(lambda: descendants(outside_session=own))
    reap_orphans()
