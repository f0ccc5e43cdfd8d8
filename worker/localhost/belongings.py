"""Which processes belong to a machine: everything its agent started, found four ways.

1. Descendants of its process one, a subreaper, from which nothing escapes while it lives.
Should somebody kill that one, as far as possible:
2. A cgroup of the machine's own, where this user may make one (v2, or v1's freezer).
3. The machine's mark in the environment (inherited unless cleared), or the session of any process one it had.
4. Orphans that fell to the daemon, a subreaper too: they come from no machine that is whole, and may be ended by
   whichever machine looks first.
5. What was seen to be the machine's before, and still lives.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK_VARIABLE = "MODELYARD_MACHINE"
_CGROUP_ROOTS = (Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup"))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A process over time: an id may be used again, an id with its start time is not."""

    pid: int
    start_ticks: int


def identity_of(pid: int) -> Identity | None:
    """Who has this id now; None when nobody lives under it (an ended, unreaped process does not live)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, start_ticks = fields[0], int(fields[19])
    return None if state in {"Z", "X"} else Identity(pid=pid, start_ticks=start_ticks)


def lives(identity: Identity) -> bool:
    """True while exactly this process runs."""
    return identity_of(identity.pid) == identity


def mark_of(home: Path, tag: str) -> str:
    """A name for the machine that no machine of another home has."""
    return f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}-{tag}"


def make_cgroup(home: Path, tag: str) -> Path | None:
    """A cgroup for the machine, or None where this user cannot make one."""
    for root in _CGROUP_ROOTS:
        if not (root / "cgroup.procs").exists():
            continue
        folder = root / "modelyard" / mark_of(home, tag)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return folder if os.access(folder / "cgroup.procs", os.W_OK) else None
    return None


@dataclass
class Belongings:
    """The processes of one machine."""

    mark: str
    cgroup: Path | None
    sessions: set[int]
    orphans: Callable[[], set[int]]
    known: set[Identity] = field(default_factory=set)

    def track(self) -> None:
        """Remember descendants while their parents live; cheap, and needless where a cgroup does it."""
        if self.cgroup is None:
            living = {identity for identity in self.known if lives(identity)}
            self.known = living | self._descendants(living)

    def look(self) -> set[Identity]:
        """All living processes of the machine now; remembered for the next look."""
        found = {identity for identity in self.known if lives(identity)}
        for pid in self._pids():
            identity = identity_of(pid)
            if identity:
                found.add(identity)
        self.known = found | self._descendants(found)
        return set(self.known)

    def _pids(self) -> set[int]:
        pids = self._in_cgroup() | self.orphans()
        mark = f"{MARK_VARIABLE}={self.mark}".encode()
        for pid in psutil.pids():
            if self._in_session(pid) or mark in _environment(pid):
                pids.add(pid)
        return pids - {os.getpid()}

    def _in_session(self, pid: int) -> bool:
        try:
            return os.getsid(pid) in self.sessions
        except (ProcessLookupError, PermissionError):
            return False

    def _in_cgroup(self) -> set[int]:
        pids: set[int] = set()
        if self.cgroup:
            for procs in self.cgroup.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    pids |= {int(line) for line in procs.read_text().split()}
        return pids

    @staticmethod
    def _descendants(roots: set[Identity]) -> set[Identity]:
        found: set[Identity] = set()
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                pids = [child.pid for child in psutil.Process(root.pid).children(recursive=True)]
                found |= {identity for pid in pids if (identity := identity_of(pid))}
        return found

    def drop_cgroup(self) -> None:
        """Remove the empty cgroup, and those the agent made inside it."""
        if self.cgroup and self.cgroup.exists():
            inside = sorted((p for p in self.cgroup.rglob("*") if p.is_dir()), reverse=True)
            for folder in [*inside, self.cgroup]:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
