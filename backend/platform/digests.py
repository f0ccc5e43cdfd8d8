"""A folder's files with their SHA-256, in the format of `sha256sum`: `sha256sum -c SHA256SUMS` checks a backup too."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from backend.platform.errors import BackupDamaged

SUMS = "SHA256SUMS"
_CHUNK_BYTES = 1024 * 1024
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def files_below(root: Path) -> Iterator[Path]:
    """Every regular file below `root`, as a path relative to it; links are not followed."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if not path.is_symlink():
                yield path.relative_to(root)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_private(source: Path, target: Path) -> str:
    """Copy to a new 0600 file that takes its name when it is whole; the time of change goes along. Returns SHA-256."""
    _make_private(target.parent)
    side = target.with_name(f"{target.name}.unfinished")
    side.unlink(missing_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(side, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            writing.write(chunk)
    shutil.copystat(source, side, follow_symlinks=False)
    side.chmod(0o600)
    side.replace(target)
    return digest.hexdigest()


def _make_private(folder: Path) -> None:
    """Like `mkdir -p`, but the folders above are 0700 as well: `parents=True` gives those the umask's mode."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_sums(root: Path, sums: Mapping[str, str]) -> None:
    """Write `root/SHA256SUMS` (0600) from relative path → digest."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    descriptor = os.open(root / SUMS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(lines)


def read_sums(root: Path) -> dict[str, str]:
    """Relative path → digest. Raises BackupDamaged for a line that is none, or a path that leads outside."""
    try:
        text = (root / SUMS).read_text()
    except FileNotFoundError:
        raise BackupDamaged(f"{root} has no {SUMS}: it is not a backup, or not a whole one") from None
    sums: dict[str, str] = {}
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or Path(found[2]).is_absolute() or ".." in Path(found[2]).parts:
            raise BackupDamaged(f"{root / SUMS} has a line that names no file of it: {line[:100]!r}")
        sums[found[2]] = found[1]
    return sums
