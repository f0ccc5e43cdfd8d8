"""`modelyard backup`: a whole platform in one folder, taken while it runs or while it does not.

The folder holds
    database/        `pg_basebackup` of the whole server as gzipped tar files: schema, rows, roles
    objects/         the home's objects, as they lie there; absent when they are in a bucket
    secrets.json     the home's secrets, the key that wraps every organization's key among them
    owner.json       the first owner's credentials, if the home still has them
    postgres/superuser.password, localhost/log.jsonl (the provider's own record, for who wants to check a bill)
    backup.json      when, of which PostgreSQL, at which schema
    SHA256SUMS       of all of the above

Objects are copied first, the database second, new objects third. Objects are written before the rows that name them and
blobs are never changed, so whatever the database names is there; what was deleted meanwhile is there too, and harms
nobody.
A backup is what the platform knew at that moment: usage that lies in spools of instances is not yet part of it.

It grows in `TARGET.partial` and takes its name when it is whole and on disk. One that broke off is gone on with: what
was copied is compared, not copied again, and the database is taken anew.
"""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from backend.core.settings import Settings
from backend.platform.digests import copy_private, digest_of, files_below, write_sums
from backend.platform.embedded_postgres import EmbeddedPostgres
from backend.platform.errors import BackupFailed, BackupRefused
from backend.platform.folders import make_runtime_folder, runtime_folder
from backend.platform.home import is_locked, lock_home
from backend.platform.services import DATABASE

FORMAT = 1
FACTS = "backup.json"
KEPT = ("secrets.json", "owner.json", "postgres/superuser.password", "localhost/log.jsonl")
"""Files of the home that a backup takes as they are, where they exist."""

_SPARE = 1.05  # of the space that is needed; the rest of the disk stays usable
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`backup.json`."""

    format: int
    created_at: str
    postgres: str
    schema: str
    database_bytes: int
    """What the database takes when it is unpacked."""
    objects: str | None
    """Where the objects lie when they are not in the backup: a bucket, which has backups of its own."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a backup took."""

    target: str
    files: int
    bytes: int
    kept: int
    """Objects that an earlier, broken-off run had copied."""


@dataclass
class _Sums:
    """Relative path → SHA-256, as it grows."""

    digests: dict[str, str] = field(default_factory=dict)
    kept: int = 0


def back_up(settings: Settings, target: Path, *, say: Say) -> Taken:
    """Back up the platform of `settings.home` into the new folder `target`.

    Raises BackupRefused (target exists, no room, nothing to back up), BackupFailed (PostgreSQL said no).
    """
    home, target = settings.home.resolve(), target.absolute()
    _check_places(home, target)
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial.chmod(0o700)
    with _alone(partial), _server(home) as postgres:
        objects = None if settings.storage_url else home / "objects"
        _check_room(home, objects, partial)
        sums = _Sums()
        _copy_objects(objects, partial, sums)
        say("objects copied; now the database")
        _copy_database(postgres, partial / "database")
        _copy_objects(objects, partial, sums)
        _finish(home, partial, sums, _facts(settings, postgres))
        # Everything is on disk before it takes its name: a power cut leaves a backup that is whole, or none.
        os.sync()
        partial.rename(target)
    os.sync()
    size = sum((target / name).stat().st_size for name in sums.digests)
    return Taken(target=str(target), files=len(sums.digests), bytes=size, kept=sums.kept)


def _check_places(home: Path, target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BackupRefused(f"{target} exists, and a backup never replaces anything; name a folder that does not")
    if target.resolve().is_relative_to(home):
        raise BackupRefused(f"{target} lies in the home that is to be backed up; name a folder elsewhere")
    if not (home / "postgres" / "data").is_dir():
        raise BackupRefused(
            f"{home} has no database of its own: no platform was ever started on it, or its PostgreSQL is another"
            " server's, which has backups of its own"
        )


def _check_room(home: Path, objects: Path | None, partial: Path) -> None:
    """Objects that are there already are not counted again; the database is counted as if nothing compressed it."""
    wanted = _size(home / "postgres" / "data")
    if objects is not None:
        wanted += max(0, _size(objects) - _size(partial / "objects"))
    free = shutil.disk_usage(partial).free
    if wanted * _SPARE > free:
        raise BackupRefused(
            f"{partial.parent} has {free / 1e9:.2f} GB free, and this backup may need {wanted * _SPARE / 1e9:.2f} GB;"
            " free some, or name a folder on another disk"
        )


def _size(folder: Path) -> int:
    total = 0
    for name in files_below(folder):
        try:
            total += (folder / name).stat().st_size
        except FileNotFoundError:
            continue  # PostgreSQL and uploads remove files while we count
    return total


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """One backup at a time into one folder. Raises BackupRefused."""
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRefused(f"another backup writes into {partial}; wait for it") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _server(home: Path) -> Iterator[EmbeddedPostgres]:
    """The home's PostgreSQL: the running platform's, or one started for this backup alone."""
    runtime = runtime_folder(home)
    postgres = EmbeddedPostgres(home, runtime)
    if is_locked(home):
        if not postgres.ready():
            raise BackupFailed(
                f"the platform on {home} runs, but its PostgreSQL does not answer; see `modelyard status`"
            )
        yield postgres
        return
    lock = lock_home(home)
    try:
        make_runtime_folder(runtime)
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        os.close(lock)


def _copy_objects(objects: Path | None, partial: Path, sums: _Sums) -> None:
    """Copy what the backup does not have yet, or has in another version."""
    if objects is None or not objects.is_dir():
        return
    for name in files_below(objects):
        if "#" in name.name:  # an object that is being written
            continue
        key = f"objects/{name}"
        source, target = objects / name, partial / "objects" / name
        try:
            if not _same(source, target):
                sums.digests[key] = _checked(name, copy_private(source, target))
            elif key not in sums.digests:
                sums.digests[key] = _checked(name, digest_of(target))
                sums.kept += 1
        except FileNotFoundError:
            continue  # deleted while we copied: a part of an upload that was completed


def _same(source: Path, target: Path) -> bool:
    try:
        old = target.stat()
    except FileNotFoundError:
        return False
    new = source.stat()
    return (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)


def _checked(name: Path, digest: str) -> str:
    """A blob is named by its digest: a backup of a damaged one would be found out too late."""
    if name.parts[0] == "blobs" and name.name != digest:
        raise BackupFailed(
            f"the object {name} is damaged: its content has the SHA-256 {digest}. Restore it from an older backup, or"
            " delete it, and start again"
        )
    return digest


def _copy_database(postgres: EmbeddedPostgres, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    command = [
        str(postgres.program("pg_basebackup")),
        *("--dbname", postgres.superuser_dsn().replace(f":{postgres.password}@", "@")),
        *("--pgdata", str(folder)),
        *("--format", "tar"),
        *("--compress", "client-gzip:1"),
        *("--wal-method", "stream"),
        *("--checkpoint", "fast"),
        *("--label", "modelyard backup"),
    ]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGPASSWORD": postgres.password}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o077)
    if ended.returncode != 0:
        raise BackupFailed(f"pg_basebackup ended with status {ended.returncode}: {ended.stderr.strip()[-2000:]}")


def _facts(settings: Settings, postgres: EmbeddedPostgres) -> Facts:
    with psycopg.connect(postgres.superuser_dsn(DATABASE)) as connection:
        row = connection.execute(
            "SELECT version_num, current_setting('server_version') FROM alembic_version"
        ).fetchone()
    if row is None:
        raise BackupFailed("the database has no schema yet; start the platform once")
    return Facts(
        format=FORMAT,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        postgres=str(row[1]),
        schema=str(row[0]),
        database_bytes=_size(postgres.data_folder),
        objects=settings.storage_url,
    )


def _finish(home: Path, partial: Path, sums: _Sums, facts: Facts) -> None:
    """The small files, the facts, the digests; what a broken-off run left and nobody names goes."""
    for name in KEPT:
        (partial / name).unlink(missing_ok=True)
        if (home / name).exists():
            sums.digests[name] = copy_private(home / name, partial / name)
    descriptor = os.open(partial / FACTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(json.dumps(asdict(facts), indent=1) + "\n")
    for name in [FACTS, *(f"database/{name}" for name in files_below(partial / "database"))]:
        (partial / name).chmod(0o600)
        sums.digests[name] = digest_of(partial / name)
    for path in list(files_below(partial)):
        if str(path) not in sums.digests:
            (partial / path).unlink()
    write_sums(partial, sums.digests)
