"""Start one program with a death signal and, asked by root, another user and a private view of files.

Run by path (`python -I -S launcher.py <json> <program> <argument>…`), standard library only: it is executed
before anything of ours is importable, and in 15 ms. The JSON object has, all optional but `parent`:

- `parent`: process id of the starter; if that is gone already, nothing is started.
- `death_signal`: signal number the program gets when the starter's thread ends (PR_SET_PDEATHSIG).
- `mount_point`: an empty folder. In a mount namespace of its own it becomes a small tmpfs, and each
  of `binds`, [source, name below it, read-only], is bound there: so an unprivileged server works on files
  under folders that only root may enter, and no mode is changed anywhere.
- `passwd`: a text bound over /etc/passwd there (`initdb` demands a name for its user id).
- `uid`, `gid`: become this user, without groups or a way back (no_new_privs).

Order matters: the death signal is cleared by a change of user, so it is set after it; then the parent is
looked at once more, for it may have died in between.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"cannot {what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _check(result, f"mount {source} on {target}")


def _bind(source: int, target: Path, *, read_only: bool) -> None:
    _mount(f"/proc/self/fd/{source}", str(target), "", _MS_BIND | _MS_REC)
    if read_only:
        _mount("", str(target), "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID)


def _private_view(spec: dict[str, Any]) -> None:
    """Enter a mount namespace in which the binds, and a passwd file, lie below the mount point."""
    root = Path(spec["mount_point"])
    umask = os.umask(0o022)
    _check(
        _libc.unshare(_CLONE_NEWNS),
        "make a mount namespace (as root this needs CAP_SYS_ADMIN; start as an ordinary user instead)",
    )
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    # In this namespace (a descriptor from the old one cannot be bound), and before the tmpfs may hide a path.
    sources = [os.open(source, os.O_PATH) for source, _, _ in spec["binds"]]
    _mount("modelyard", str(root), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
    for descriptor, (source, name, read_only) in zip(sources, spec["binds"], strict=True):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if Path(source).is_dir() else target.touch()
        _bind(descriptor, target, read_only=read_only)
        os.close(descriptor)
    if spec.get("passwd"):
        users = root / "passwd"
        users.write_text(spec["passwd"])
        descriptor = os.open(users, os.O_PATH)
        _bind(descriptor, Path("/etc/passwd"), read_only=False)
        os.close(descriptor)
    os.umask(umask)


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main(arguments: list[str]) -> None:
    """Do what the specification says and become the program. Never returns."""
    spec: dict[str, Any] = json.loads(arguments[0])
    command = arguments[1:]
    # A supervisor waits with its signals blocked, and a blocked mask is inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if spec.get("mount_point"):
        _private_view(spec)
    if spec.get("uid") is not None:
        _become(spec["uid"], spec["gid"])
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "give up new privileges")
    if spec.get("death_signal"):
        _check(_libc.prctl(_PR_SET_PDEATHSIG, spec["death_signal"], 0, 0, 0), "set a death signal")
    if os.getppid() != spec["parent"]:
        sys.exit("the starter is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 # becoming the program is this file's purpose
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
