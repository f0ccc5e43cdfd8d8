"""`modelyard restore`: a backup becomes a home that `modelyard up` starts.

Checked before anything is written: the list of files, the version of PostgreSQL, the schema, the room on the disk. Then
every file is copied into `HOME.partial` and its digest compared on the way; the database is unpacked for the user
whom the
server will run as; and the whole takes the home's name. A restore that broke off leaves only `HOME.partial`, which
the next one begins with removing. The backup itself is only read.

What ran when the backup was taken does not run here. The provider's record is therefore kept beside the new one and not
in its place: its machines are those of another home. The first look of the control worker finds that they are gone; an
attempt that ran on one is interrupted and billed to its last heartbeat, and its job goes on from its last checkpoint.
"""

import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from backend.core.schema import knows_schema
from backend.platform.backup import FACTS, FORMAT, Facts, Say
from backend.platform.digests import copy_private, read_sums
from backend.platform.errors import BackupDamaged, BackupRefused
from backend.platform.serverprocess import ServerUser, server_user

_MAJOR_VERSION = "18"
_MOVED = {"localhost/log.jsonl": "localhost/log-before-restore.jsonl"}


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was restored."""

    home: str
    files: int
    schema: str
    created_at: str
    objects: str | None


def restore(source: Path, home: Path, *, say: Say) -> Restored:
    """Make `home`, which must not exist or be empty, from the backup in `source`.

    Raises BackupRefused (home in use, no room) and BackupDamaged (digests differ, files missing, unknown version).
    """
    source, home = source.absolute(), home.absolute()
    _check_home(home)
    sums = read_sums(source)
    facts = _read_facts(source)
    _check_whole(source, sums)
    partial = home.with_name(f"{home.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _check_room(source, sums, facts, partial.parent)
    partial.mkdir(mode=0o700)
    say(f"checking and copying {len(sums)} files")
    for name, digest in sums.items():
        if copy_private(source / name, partial / _MOVED.get(name, name)) != digest:
            raise BackupDamaged(f"{source / name} is damaged: its content is not what was backed up")
    _unpack_database(partial)
    (partial / FACTS).unlink()
    os.sync()
    partial.replace(home)
    return Restored(
        home=str(home), files=len(sums), schema=facts.schema, created_at=facts.created_at, objects=facts.objects
    )


def _check_home(home: Path) -> None:
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise BackupRefused(f"{home} is not a folder; name a home that does not exist yet")
    if home.exists() and any(home.iterdir()):
        raise BackupRefused(f"{home} is not empty, and a restore never replaces anything; name a new home with --home")


def _read_facts(source: Path) -> Facts:
    try:
        facts = Facts(**json.loads((source / FACTS).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BackupDamaged(f"{source / FACTS} cannot be read: {error}") from None
    if facts.format != FORMAT:
        raise BackupDamaged(f"{source} has format {facts.format}, this build reads {FORMAT}")
    if facts.postgres.split(".")[0] != _MAJOR_VERSION:
        raise BackupDamaged(f"{source} was taken from PostgreSQL {facts.postgres}; this build has {_MAJOR_VERSION}")
    if not knows_schema(facts.schema):
        raise BackupDamaged(
            f"{source} has schema {facts.schema}, which this build does not know: it was taken by a newer Modelyard;"
            " restore it with that one"
        )
    return facts


def _check_whole(source: Path, sums: dict[str, str]) -> None:
    missing = [name for name in sums if not (source / name).is_file()]
    if missing:
        raise BackupDamaged(f"{source} lacks {len(missing)} of its {len(sums)} files, {missing[0]} among them")
    needed = {"secrets.json", "postgres/superuser.password", "database/base.tar.gz", "database/pg_wal.tar.gz"}
    if not needed <= sums.keys():
        raise BackupDamaged(f"{source} has no {min(needed - sums.keys())}; it cannot be restored without")


def _check_room(source: Path, sums: dict[str, str], facts: Facts, where: Path) -> None:
    wanted = sum((source / name).stat().st_size for name in sums) + facts.database_bytes
    free = shutil.disk_usage(where).free
    if wanted > free:
        raise BackupRefused(f"{where} has {free / 1e9:.2f} GB free, and this restore may need {wanted / 1e9:.2f} GB")


def _unpack_database(partial: Path) -> None:
    packed, data = partial / "database", partial / "postgres" / "data"
    before = os.umask(0o077)
    try:
        data.mkdir(mode=0o700)
        for archive, folder in (("base.tar.gz", data), ("pg_wal.tar.gz", data / "pg_wal")):
            with tarfile.open(packed / archive) as content:
                content.extractall(folder, filter="data")
    finally:
        os.umask(before)
    shutil.rmtree(packed)
    _give(data, server_user(0))


def _give(data: Path, user: ServerUser) -> None:
    """Folders 0700, files 0600, all of the server's user."""
    for folder, _, names in os.walk(data):
        for path in [Path(folder), *(Path(folder) / name for name in names)]:
            path.chmod(0o700 if path.is_dir() else 0o600)
            if user.changes:
                os.chown(path, user.uid, user.gid, follow_symlinks=False)
