"""Looking at and ending processes that others started: sessions, descendants, identities over time."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02


def become_subreaper() -> None:
    """Orphaned descendants of this process become its children, instead of init's."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def session_of(pid: int) -> int | None:
    """Session id of a process, or None when it is gone."""
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def is_zombie(process: psutil.Process) -> bool:
    """True when it has ended (waited for or not)."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def in_session(session: int) -> list[psutil.Process]:
    """Living processes of a session."""
    return [p for p in psutil.process_iter() if session_of(p.pid) == session and not is_zombie(p)]


def descendants(*, outside_session: int) -> list[psutil.Process]:
    """Living descendants of this process, but those in the session `outside_session`."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if session_of(p.pid) not in {outside_session, None} and not is_zombie(p)]


def send(process: psutil.Process, number: int) -> None:
    """Signal it if it is still there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def kill_until_gone(find: Callable[[], Iterable[psutil.Process]], timeout_seconds: float = 10.0) -> bool:
    """SIGKILL what `find` finds until it finds nothing (a fork may win a round). False when late."""
    deadline = time.monotonic() + timeout_seconds
    while living := list(find()):
        if time.monotonic() > deadline:
            return False
        for process in living:
            send(process, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return True


def reap_orphans(*, keep: Collection[int] = ()) -> None:
    """Wait for ended children of other sessions: orphans that this subreaper was handed.

    `keep`: our own children in sessions of theirs, whose status somebody waits for. Children of our own
    session belong to whoever started them here (`subprocess`), and are left alone too.
    """
    own = os.getsid(0)
    for child in psutil.Process().children():
        if child.pid not in keep and is_zombie(child) and session_of(child.pid) != own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
