"""Memory, CPU and process limits of one assignment by control groups, version 1 or 2.

Each assignment gets a group below the agent's own, so that whatever limits the agent limits it too. The
process is started inside it (a shell writes itself in, then becomes the sandbox), so nothing it
starts is ever outside. Where a controller is not writable the caller falls back on watching.

Version 2 allows limits on children only of a group that holds no process itself: an agent alone in its group
(a systemd unit with `Delegate=yes`, a container) first moves itself into a leaf `agent` beside the assignments'.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import msgspec

CPU_PERIOD_US = 100_000
REMOVE_SECONDS = 3.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one assignment may use."""

    memory_bytes: int
    cpu_count: float
    process_limit: int
    disk_bytes: int


class ControlGroup:
    """The groups of one assignment (one in version 2, one per controller in version 1)."""

    def __init__(self, folders: dict[str, Path], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified

    @property
    def folders(self) -> list[str]:
        """Paths, to be remembered for cleaning up after a killed agent."""
        return sorted({str(folder) for folder in self._folders.values()})

    @property
    def limits_memory(self) -> bool:
        """True when the kernel holds the memory limit."""
        return "memory" in self._folders

    @property
    def limits_processes(self) -> bool:
        """True when the kernel holds the process limit."""
        return "pids" in self._folders

    def enter_command(self, command: list[str]) -> list[str]:
        """`command`, started inside the groups."""
        if not self._folders:
            return command
        files = [f"{folder}/cgroup.procs" for folder in self.folders]
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'
        return ["/bin/sh", "-c", script, "sh", str(len(files)), *files, *command]

    def out_of_memory(self) -> bool:
        """True if the kernel killed a process of the group at its memory limit."""
        name = "memory.events" if self._unified else "memory.oom_control"
        for line in self._read("memory", name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill" and value.strip() != "0":
                return True
        return False

    def peak_memory_bytes(self) -> int | None:
        """The most memory the group has held, page cache included; None where it is not counted."""
        text = self._read("memory", "memory.peak" if self._unified else "memory.max_usage_in_bytes").strip()
        return int(text) if text.isdigit() else None

    def process_ids(self) -> list[int] | None:
        """Host ids of every process of the group; None where there is no group."""
        if not self._folders:
            return None
        controller = "memory" if "memory" in self._folders else next(iter(self._folders))
        return [int(pid) for pid in self._read(controller, "cgroup.procs").split()]

    def cpu_seconds(self) -> float | None:
        """Processor time that the group has used, ended processes included; None where it is not counted."""
        if self._unified:
            used = _field(self._read("cpu", "cpu.stat"), "usage_usec")
            return None if used is None else used / 1e6
        text = self._read("cpu", "cpuacct.usage").strip()
        return int(text) / 1e9 if text.isdigit() else None

    def working_memory_bytes(self) -> int | None:
        """Memory that the group holds now, less the file cache that the kernel would drop first; None: not counted."""
        used = self._read("memory", "memory.current" if self._unified else "memory.usage_in_bytes").strip()
        idle = _field(self._read("memory", "memory.stat"), "inactive_file" if self._unified else "total_inactive_file")
        return max(0, int(used) - (idle or 0)) if used.isdigit() else None

    def _read(self, controller: str, name: str) -> str:
        folder = self._folders.get(controller)
        if folder is None:
            return ""
        try:
            return (folder / name).read_text()
        except OSError:
            return ""

    def remove(self) -> None:
        """Kill what is left in the groups and remove them."""
        remove_groups(self.folders)


def _field(text: str, name: str) -> int | None:
    """The number of one line `name number`."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def make_group(name: str, limits: Limits, *, root: Path = Path("/sys/fs/cgroup")) -> ControlGroup:
    """A group with these limits, of the controllers that are writable here; maybe none."""
    if (root / "cgroup.controllers").exists():
        return _make_unified(root, name, limits)
    return _make_v1(root, name, limits)


def _own_groups() -> dict[str, str]:
    """The agent's own group per version 1 controller ("" = version 2)."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/")
    return groups


def _make_v1(root: Path, name: str, limits: Limits) -> ControlGroup:
    settings = {
        "memory": {
            "memory.limit_in_bytes": str(limits.memory_bytes),
            "memory.memsw.limit_in_bytes": str(limits.memory_bytes),
        },
        "pids": {"pids.max": str(limits.process_limit)},
        "cpu": {
            "cpu.cfs_period_us": str(CPU_PERIOD_US),
            "cpu.cfs_quota_us": str(max(1000, int(limits.cpu_count * CPU_PERIOD_US))),
        },
    }
    own = _own_groups()
    folders = {}
    for controller, values in settings.items():
        if controller in own:
            folder = _make_one(root / controller / own[controller] / name, values, optional="memsw")
            if folder is not None:
                folders[controller] = folder
    return ControlGroup(folders, unified=False)


def _make_unified(root: Path, name: str, limits: Limits) -> ControlGroup:
    parent = root / _own_groups().get("", "")
    if parent.name == "agent" and (parent.parent / "cgroup.procs").exists():
        parent = parent.parent
    for controller in ("memory", "pids", "cpu"):
        _enable(parent, controller)
    enabled = _text(parent / "cgroup.subtree_control").split()
    values: dict[str, str] = {}
    if "memory" in enabled:
        values |= {"memory.max": str(limits.memory_bytes), "memory.swap.max": "0"}
    if "pids" in enabled:
        values |= {"pids.max": str(limits.process_limit)}
    if "cpu" in enabled:
        values |= {"cpu.max": f"{max(1000, int(limits.cpu_count * CPU_PERIOD_US))} {CPU_PERIOD_US}"}
    folder = _make_one(parent / name, values, optional="swap") if values else None
    found = {c for c in ("memory", "pids", "cpu") if c in enabled} if folder is not None else set()
    return ControlGroup({controller: folder for controller in found if folder is not None}, unified=True)


def _enable(parent: Path, controller: str) -> None:
    """Let children of `parent` be limited; moves this agent into a leaf if it is alone in `parent`."""
    control = parent / "cgroup.subtree_control"
    if controller in _text(control).split():
        return
    try:
        control.write_text(f"+{controller}")
    except OSError:
        if _text(parent / "cgroup.procs").split() != [str(os.getpid())]:
            return
        with contextlib.suppress(OSError):
            (parent / "agent").mkdir(exist_ok=True)
            (parent / "agent" / "cgroup.procs").write_text(str(os.getpid()))
            control.write_text(f"+{controller}")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _make_one(folder: Path, values: dict[str, str], *, optional: str) -> Path | None:
    """Make a group and set its limits; None, with nothing left, if the kernel or the owner does not let us."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    for file, value in values.items():
        try:
            (folder / file).write_text(value)
        except OSError:
            if optional in file:
                continue
            with contextlib.suppress(OSError):
                folder.rmdir()
            return None
    return folder


def remove_groups(folders: list[str]) -> None:
    """Kill whatever is in these groups and remove them; one that is gone already is fine."""
    deadline = time.monotonic() + REMOVE_SECONDS
    for folder in map(Path, folders):
        while folder.exists():
            for pid in _text(folder / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
