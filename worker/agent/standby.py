"""A standby: a process in its sandbox, loaded, that waits for its job on an instance that has nothing to do.

Lifecycle
---------
The control plane says in its reply to a sync whether one is wanted (the instance was asked for by a job, or is held
after one), for which entrypoint and in which limits. wanted → *starting* (own folder, own uid, own control group, own
namespaces, the system call filter: all that a job gets, before any job is known) → *waiting* → exactly one of

- *taken* by the first attempt with that entrypoint and exactly these limits. The thread that started the process
  goes on as the attempt's (the kernel ties the sandbox to that thread). The standby's job folder is renamed to be the
  assignment's: the sandbox shows it as `/job` already, so what the agent puts there (spec, inputs, checkpoint)
  appears inside, read-only as ever, without a mount. Then one line on its standard input names the entrypoint. It
  may still be loading: it reads the line when it has loaded.
- *retired*: no longer wanted, other limits, a drain, the agent's end. Killed, folder and groups removed.
- *dead* by itself: cleaned up, and not started again for `RETRY_SECONDS`. One that dies after it was taken and before
  it was told its job costs nothing: the attempt starts a process as if there had been none.

A standby is never returned: one job, then gone, like any other process here. A killed agent takes it along; the next
one finds `DIR/standby/<name>/groups.json` and removes what is left. Idle it is nobody's bill: no assignment exists,
and the attempt's seconds count from the moment it is told its job. Without a sandbox (`unsafe`) there are no standbys.
"""

import contextlib
import logging
import os
import secrets
import select
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from backend.core.wire import AttemptSpec
from backend.core.wire import Standby as Wanted
from worker.agent.limits import Limits, make_group, remove_groups
from worker.agent.process import SandboxedProcess
from worker.agent.sandbox import Sandbox, SandboxRequest, choose_uid, lay_out_job
from worker.agent.state import make_private
from worker.agent.wake import WakeLine

ENTRYPOINT = "worker.standby"
RETRY_SECONDS = 30.0
JOIN_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class WaitingProcess:
    """The process of a standby, used by the one thread that started it."""

    def __init__(self, sandbox: Sandbox, folder: Path, wanted: Wanted) -> None:
        """Start it. Raises OSError, SandboxNotStarted, SandboxMissing."""
        self._folder = make_private(folder)
        self.job = folder / "job"
        limits = limits_of(wanted)
        self.uid = choose_uid(folder.name, 0)
        lay_out_job(self.job, self.uid)
        group = make_group(f"modelyard-standby-{folder.name}", limits)
        (folder / "groups.json").write_bytes(msgspec.json.encode(group.folders))
        request = SandboxRequest(
            job_folder=self.job,
            writable={"work": self.job / "work"},
            entrypoint=ENTRYPOINT,
            arguments=(wanted.entrypoint,),
            environment={},
            limits=limits,
            uid=self.uid,
        )
        read_end, self._line = os.pipe()
        try:
            self.process = SandboxedProcess(sandbox, request, group, stdin=read_end)
        except Exception:
            os.close(self._line)
            group.remove()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            os.close(read_end)

    def move_job_to(self, job: Path) -> None:
        """Its job folder becomes the assignment's; what the sandbox shows as `/job` stays the same folder."""
        self.job.rename(job)
        self.job = job

    def forget_folder(self) -> None:
        """Its groups are written down elsewhere: nothing of it is to be found under the standby's name."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def begin(self, entrypoint: str) -> bool:
        """Tell it to become its job; False if it is dead."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._line, f"{entrypoint}\n".encode())
            return self.process.alive
        return False

    def hang_up(self) -> None:
        """Close the line, once."""
        if self._line >= 0:
            os.close(self._line)
            self._line = -1

    def end(self) -> None:
        """Kill it and remove everything of it but a job folder that moved away."""
        self.hang_up()
        self.process.kill()
        self.process.wait()
        self.process.close()
        self.forget_folder()


Heir = Callable[[WaitingProcess | None], None]
"""What an attempt does with the standby's thread and its process; None where it did not come up."""


class Standby:
    """One standby from start to taken, retired or dead."""

    def __init__(self, sandbox: Sandbox, folder: Path, wanted: Wanted) -> None:
        self.wanted = wanted
        self._sandbox = sandbox
        self._folder = folder
        self._lock = threading.Lock()
        self._decided = WakeLine()
        self._heir: Heir | None = None
        self._over = False
        self.thread = threading.Thread(target=self._live, name=f"standby-{folder.name}", daemon=True)
        self.thread.start()

    @property
    def over(self) -> bool:
        """True once it can no longer be taken."""
        return self._over

    def give(self, heir: Heir) -> bool:
        """Let `heir` go on in this standby's thread, with its process; False if it is over."""
        with self._lock:
            if self._over:
                return False
            self._over = True
            self._heir = heir
            self._decided.ring()
        return True

    def retire(self) -> None:
        """End it, if nobody has taken it."""
        with self._lock:
            if not self._over:
                self._over = True
                self._decided.ring()

    def _live(self) -> None:
        process: WaitingProcess | None = None
        try:
            process = WaitingProcess(self._sandbox, self._folder, self.wanted)
            select.select([process.process.exited, self._decided.fileno()], [], [])
        except Exception as error:  # noqa: BLE001 # the edge of the thread: without it jobs start as ever
            _LOG.warning("the standby did not start: %s", error)
        with self._lock:
            self._over = True
            self._decided.close()
        if self._heir is not None:
            self._heir(process)
        elif process is not None:
            process.end()


class Standbys:
    """The at most one standby of an agent. Used by the sync loop alone."""

    def __init__(self, sandbox: Sandbox, folder: Path, entrypoints: frozenset[str]) -> None:
        self._sandbox = sandbox
        self._folder = make_private(folder)
        self._entrypoints = entrypoints
        self._current: Standby | None = None
        self._not_before = 0.0

    def recover(self) -> None:
        """Remove what a killed agent's standby left: its process died with that agent."""
        for left in self._folder.iterdir():
            with contextlib.suppress(OSError, msgspec.DecodeError):
                remove_groups(msgspec.json.decode((left / "groups.json").read_bytes(), type=list[str]))
            shutil.rmtree(left, ignore_errors=True)

    def want(self, wanted: Wanted | None) -> None:
        """Have this one and no other."""
        if wanted is not None and (wanted.entrypoint not in self._entrypoints or not self._sandbox.confined):
            wanted = None
        current = self._current
        if current is not None and (current.over or current.wanted != wanted):
            if current.over:
                self._not_before = time.monotonic() + RETRY_SECONDS
            current.retire()
            self._current = None
        if self._current is None and wanted is not None and time.monotonic() >= self._not_before:
            self._current = Standby(self._sandbox, self._folder / secrets.token_hex(6), wanted)

    def take(self, spec: AttemptSpec) -> Standby | None:
        """The standby for this attempt, if there is one of its entrypoint and limits; it is nobody else's now."""
        current = self._current
        if current is None or current.over or current.wanted != wanted_for(spec):
            return None
        self._current = None
        return current

    def end(self) -> None:
        """Retire it and wait for it to be gone."""
        current, self._current = self._current, None
        if current is not None:
            current.retire()
            current.thread.join(JOIN_SECONDS)


def limits_of(wanted: Wanted) -> Limits:
    """The limits of a standby's process."""
    return Limits(
        memory_bytes=wanted.memory_limit_bytes,
        cpu_count=wanted.cpu_count,
        process_limit=wanted.process_limit,
        disk_bytes=wanted.disk_limit_bytes,
    )


def wanted_for(spec: AttemptSpec) -> Wanted:
    """The standby that an attempt may take."""
    return Wanted(
        entrypoint=spec.entrypoint,
        memory_limit_bytes=spec.memory_limit_bytes,
        cpu_count=spec.cpu_count,
        process_limit=spec.process_limit,
        disk_limit_bytes=spec.disk_limit_bytes,
    )
