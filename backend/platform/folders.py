"""The runtime folder, folders of server users, password files: owners and modes.

The home folder may lie anywhere, also behind a long path; sockets need a short one. So each home has a
runtime folder named by a hash of its path, under XDG_RUNTIME_DIR for an ordinary user, else under /tmp.
There it is made without following links and refused when somebody else made it first. In it each server has a
folder of its own (0700, owned by that server's user); started as root, the runtime folder itself is 0711,
so that the servers reach their own folders and nobody can list it.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from backend.platform.errors import PathTooLong, UnsafeFolder

_SOCKET_PATH_LIMIT_BYTES = 107


def runtime_folder(home: Path) -> Path:
    """Path of the runtime folder of `home` (not yet made)."""
    name = f"modelyard-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]}"
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own and os.geteuid() != 0 and Path(own).is_dir():
        return Path(own) / name
    return Path("/tmp") / name  # noqa: S108 # made and checked by make_runtime_folder


def make_runtime_folder(path: Path) -> Path:
    """Make the runtime folder, or check the one that is there; raises UnsafeFolder."""
    wanted = 0o711 if os.geteuid() == 0 else 0o700
    path.mkdir(mode=wanted, exist_ok=True)
    _check_own(path)
    path.chmod(wanted)
    return path


def make_home(path: Path) -> Path:
    """Make the home folder (0700), or check that it is ours; raises UnsafeFolder."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(path)
    path.chmod(0o700)
    return path


def _check_own(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFolder(f"{path} is not a folder; remove it")
    if found.st_uid != os.geteuid():
        raise UnsafeFolder(f"{path} belongs to user id {found.st_uid}, not to {os.geteuid()}")


def make_owned(path: Path, uid: int, gid: int) -> Path:
    """Make `path` (0700) for a server's user, or check the folder that is there; raises UnsafeFolder."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {uid, os.geteuid()}:
            raise UnsafeFolder(f"{path} belongs to user id {found.st_uid}, not to {uid}") from None
    if os.geteuid() != uid:
        os.chown(path, uid, gid, follow_symlinks=False)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str, *, uid: int | None = None, gid: int | None = None) -> None:
    """Write `text` to a new 0600 file that replaces `path` at once; `uid`, `gid` become its owner."""
    side = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(side, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        if uid is not None and gid is not None and uid != os.geteuid():
            os.fchown(stream.fileno(), uid, gid)
    side.replace(path)


def password_in(path: Path) -> str:
    """The password kept in `path`; made at random (0600) when the file is not there."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def checked_socket(path: Path) -> Path:
    """`path`, if a Unix socket fits there; raises PathTooLong."""
    length = len(os.fsencode(path))
    if length > _SOCKET_PATH_LIMIT_BYTES:
        raise PathTooLong(
            f"the socket path {path} has {length} bytes, the kernel allows {_SOCKET_PATH_LIMIT_BYTES};"
            " set XDG_RUNTIME_DIR to a shorter folder of your own"
        )
    return path
