"""One process in the sandbox: started inside its limits, watched, signalled, ended.

A process handle must be used by the thread that started it until the process is gone: the kernel
ties the sandbox's life to that thread.

bubblewrap stays outside as the parent; its first child is the sandbox's init (its death ends everything inside),
whose first child is the process that was asked for. SIGTERM goes to the last, SIGKILL to the init.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import psutil

from worker.agent.limits import ControlGroup
from worker.agent.sandbox import Sandbox, SandboxRequest
from worker.agent.seccomp import open_filter

START_SECONDS = 20.0
PIPE_BYTES = 1 << 20
ENTRY_BYTES = 4096
_F_SETPIPE_SZ = 1031


class SandboxNotStarted(Exception):
    """The sandbox came to nothing before the process ran; the message is what it said."""


class SandboxedProcess:
    """A running process. `output` is the read end of its standard output and error, non-blocking."""

    def __init__(
        self, sandbox: Sandbox, request: SandboxRequest, group: ControlGroup, *, stdin: int = subprocess.DEVNULL
    ) -> None:
        """Start it. Raises SandboxNotStarted or SandboxMissing."""
        self.group = group
        self._confined = sandbox.confined
        self._buffer = b""
        status_read, status_write = os.pipe()
        self._status = status_read
        self.output, output_write = os.pipe()
        os.set_blocking(self.output, False)
        filter_read = open_filter() if self._confined else os.open(os.devnull, os.O_RDONLY)
        try:
            self._outer = subprocess.Popen(
                group.enter_command(sandbox.command(request, status_write, filter_read)),
                stdin=stdin,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(status_write, filter_read) if self._confined else (),
                env=sandbox.environment(request),
                cwd=request.job_folder,
                start_new_session=True,
            )
        except OSError as error:
            self._close()
            raise SandboxNotStarted(str(error)) from error
        finally:
            os.close(filter_read)
            os.close(status_write)
            os.close(output_write)
        self.exited = os.pidfd_open(self._outer.pid)
        """Readable once the process is gone."""
        try:
            self._init, self.pid = self._find() if self._confined else (self._outer.pid, self._outer.pid)
        except SandboxNotStarted:
            self._outer.kill()
            self._outer.wait()
            self.close()
            raise

    def _find(self) -> tuple[int, int]:
        """Host process ids of the sandbox's init and of the process asked for."""
        deadline = time.monotonic() + START_SECONDS
        init = None
        while time.monotonic() < deadline:
            init = init or self._status_value("child-pid", deadline)
            child = _first_child(init) if init is not None else None
            if init is not None and child is not None:
                return init, child
            if self._outer.poll() is not None:
                if init is not None and self._status_value("exit-code", time.monotonic()) is not None:
                    return init, init  # gone already; `wait` knows the rest
                break
            time.sleep(0.002)
        raise SandboxNotStarted(self._said() or f"the sandbox was not up after {START_SECONDS:g} s")

    def _status_value(self, key: str, deadline: float) -> int | None:
        """The value of `key` in bubblewrap's status lines, waiting for more until the deadline."""
        while True:
            for line in self._buffer.split(b"\n"):
                with contextlib.suppress(json.JSONDecodeError):
                    values = json.loads(line)
                    if key in values:
                        return int(values[key])
            ready, _, _ = select.select([self._status], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._status, 4096) if ready else b""
            if not more:
                return None
            self._buffer += more

    def _said(self) -> str:
        try:
            return os.read(self.output, 4096).decode(errors="replace").strip()
        except OSError:
            return ""

    @property
    def top(self) -> int:
        """Host process id under which everything in the sandbox stands."""
        return self._init

    @property
    def alive(self) -> bool:
        """False once the process and everything it started are gone."""
        return self._outer.poll() is None

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM)."""
        if self.alive and self.pid != self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        elif not self._confined:
            self._outer.terminate()

    def kill(self) -> None:
        """End everything in the sandbox at once."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)

    def wait(self) -> int | None:
        """Reap the process: its exit code (128 + n for signal n); None if the sandbox died without it having run."""
        code = self._outer.wait()
        if self._confined:
            return self._status_value("exit-code", time.monotonic() + 1.0)
        return code if code >= 0 else 128 - code

    def memory_bytes(self) -> int:
        """Resident memory of all processes in the sandbox now (shared pages count in each)."""
        total = 0
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(self._init)
            for process in [top, *top.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
        return total

    def close(self) -> None:
        """Release what belongs to an ended process, its groups included."""
        self._close()
        os.close(self.exited)
        self.group.remove()

    def _close(self) -> None:
        os.close(self._status)
        os.close(self.output)


def _first_child(pid: int) -> int | None:
    """The oldest child of a process, or None."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None
    except OSError:
        pass
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(pid).children()
        return found[0].pid if found else None
    return None


def disk_bytes(folder: Path) -> int:
    """Bytes taken by everything below `folder`, links not followed; each entry takes a block: a disk has few inodes."""
    total = 0
    pending = [str(folder)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    total += max(found.st_blocks * 512, ENTRY_BYTES)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total
