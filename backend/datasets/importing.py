"""What the control worker does for an import: fetch, read, record. Role *controller*.

The file comes in parts of `PART_BYTES`, each an object and then a committed count (`received_bytes`): whoever takes the
row over after a crash goes on from there, if the source still has the same content and can begin in the middle; else
from the start. While bytes flow no session is open; a thread renews the lease and sees whether somebody cancelled.
A worker that lost its lease records nothing.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO
from uuid import UUID

import msgspec
import structlog
from sqlalchemy.orm import Session

from backend.core import outside, queue
from backend.core.clock import database_now
from backend.core.db import Database, Scope, act_as
from backend.core.errors import DomainError
from backend.core.idempotency import TenantVault
from backend.core.lifecycle import transition
from backend.core.queue import Lease
from backend.core.settings import ImportSettings
from backend.core.storage import ObjectStore, StorageFull, StorageUnavailable
from backend.datasets import sources
from backend.datasets.errors import DatasetNotFound, InvalidFiles
from backend.datasets.imports import KIND, purpose
from backend.datasets.ingest import record, store, what_is_known
from backend.datasets.kinds import READERS, Incoming
from backend.datasets.models import DatasetImport
from backend.datasets.repository import DatasetRepository
from backend.datasets.sources import Access
from backend.datasets.states import IMPORT_TRANSITIONS

log = structlog.get_logger(__name__)

ACTOR = "system:datasets"
PARTS_PREFIX = "imports/"
PART_BYTES = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
MAX_TRIES = 6
FIRST_WAIT = timedelta(seconds=5)
LONGEST = timedelta(hours=24)
GONE = frozenset({400, 401, 403, 404, 405, 406, 410, 451})
CHANGED = frozenset({412, 416})
PARTIAL, OK = 206, 200
IDENTITY = frozenset({"", "identity"})


class _Failed(Exception):
    """The import cannot succeed: the sentence says why."""


class _Stopped(Exception):
    """Somebody cancelled the import, or the lease is somebody else's."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a step needs."""

    database: Database
    storage: ObjectStore
    vault: TenantVault
    settings: ImportSettings
    lease_seconds: float


class _Task(msgspec.Struct, kw_only=True):
    """The import as it was when the step began, and how far it is."""

    lease: Lease
    dataset_id: UUID
    access: Access
    file_name: str
    label: str | None
    received_bytes: int
    size_bytes: int | None
    entity_tag: str | None
    stop: threading.Event

    @property
    def scope(self) -> Scope:
        return Scope(self.lease.organization_id)


def step(worker: Worker, lease: Lease) -> None:
    """Work on one import until it has ended, or must wait, or is somebody else's."""
    task = _begin(worker, lease)
    if task is None:
        return
    try:
        with _kept(worker, task):
            _fetch(worker, task)
            with _joined(worker, task) as file:
                _read(worker, task, file)
    except _Stopped:
        _end_if_cancelled(worker, task)
    except (outside.NotReached, StorageUnavailable, StorageFull) as error:
        _wait(worker, task, str(error))
    except (outside.AddressRefused, _Failed, InvalidFiles, DatasetNotFound) as error:
        _end(
            worker,
            task,
            "failed",
            str(error),
            errors=error.extra.get("errors", []) if isinstance(error, DomainError) else [],
        )


def _begin(worker: Worker, lease: Lease) -> _Task | None:
    """The row as it is; None when there is nothing to do. A cancelled one ends here."""
    with worker.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, DatasetImport, lease)
        if row is None or row.ended_at is not None or row.access_encrypted is None:
            return None
        if row.cancel_requested_at is not None:
            _close(session, row, lease, "cancelled", "cancelled")
        else:
            if row.status == "queued":
                row.started_at = database_now(session)
                _move(session, row, "running", "asking the source")
            queue.renew(row, lease_seconds=worker.lease_seconds)
        scope = Scope(lease.organization_id)
        secret = (
            worker.vault.decrypt(session, scope, row.access_encrypted, purpose=purpose(row.id))
            if row.access_encrypted
            else b""
        )
        task = (
            _Task(
                lease=lease,
                dataset_id=row.dataset_id,
                access=msgspec.json.decode(secret, type=Access),
                file_name=row.file_name,
                label=row.label,
                received_bytes=row.received_bytes,
                size_bytes=row.size_bytes,
                entity_tag=row.entity_tag,
                stop=threading.Event(),
            )
            if secret
            else None
        )
    if task is None:
        remove_parts(worker.storage, Scope(lease.organization_id), lease.row_id)
    return task


@contextmanager
def _kept(worker: Worker, task: _Task) -> Iterator[None]:
    """A thread renews the lease, and sets `stop` when it is gone or the import is cancelled."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(worker.lease_seconds / 4):
            try:
                with worker.database.unit_of_work() as session:
                    act_as(session, task.lease.organization_id)
                    row = queue.load_leased(session, DatasetImport, task.lease)
                    if row is None or row.cancel_requested_at is not None:
                        task.stop.set()
                        return
                    queue.renew(row, lease_seconds=worker.lease_seconds)
            except Exception:
                # The database is away: the lease runs out by itself, and recording will say so.
                log.exception("lease_not_renewed", row=str(task.lease.row_id))

    thread = threading.Thread(target=keep, name="import-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# --- fetching ---


def _fetch(worker: Worker, task: _Task) -> None:
    """Bring what is missing. Raises _Stopped, _Failed, AddressRefused, NotReached."""
    if task.received_bytes and task.received_bytes == task.size_bytes:
        return
    if task.received_bytes and task.entity_tag is None:
        _start_anew(worker, task)
    settings = worker.settings
    with sources.opened(
        task.access,
        offset=task.received_bytes,
        entity_tag=task.entity_tag,
        allowed_hosts=settings.allowed_hosts,
        timeout_seconds=settings.stalled_seconds,
    ) as answer:
        _check_answer(worker, task, answer)
        while True:
            part = _next_part(task, answer)
            if task.received_bytes + len(part) > settings.max_bytes:
                raise _Failed(f"the file has more than {settings.max_bytes} bytes, which is the most that is fetched")
            if len(part) < PART_BYTES:
                _finish_fetching(worker, task, part)
                return
            _keep_part(worker, task, part)


def _check_answer(worker: Worker, task: _Task, answer: outside.Answer) -> None:
    if answer.status in CHANGED and task.received_bytes:
        _start_anew(worker, task)
        raise outside.NotReached("the content changed at its source: it is fetched anew")
    if answer.status in GONE:
        raise _Failed(f"the source refused: it answered {answer.status}")
    if answer.status not in {OK, PARTIAL}:
        raise outside.NotReached(f"the source answered {answer.status}")
    if answer.headers.get("content-encoding", "").lower() not in IDENTITY:
        raise _Failed("the source compresses what it sends, which was not asked for")
    tag = _tag(answer)
    if answer.status == PARTIAL and task.received_bytes:
        begins = answer.headers.get("content-range", "").startswith(f"bytes {task.received_bytes}-")
        if not begins or tag != task.entity_tag:
            _start_anew(worker, task)
            raise outside.NotReached("the content changed at its source: it is fetched anew")
    elif task.received_bytes:
        _start_anew(worker, task)
    task.entity_tag = tag
    length = answer.headers.get("content-length", "")
    task.size_bytes = task.received_bytes + int(length) if length.isascii() and length.isdigit() else None
    if task.size_bytes is not None and task.size_bytes > worker.settings.max_bytes:
        raise _Failed(f"the file has {task.size_bytes} bytes; at most {worker.settings.max_bytes} are fetched")


def _tag(answer: outside.Answer) -> str | None:
    """A word for this very content, or None: a weak tag or an odd one says nothing."""
    tag = answer.headers.get("etag", "")
    if tag.startswith('"') and tag.isprintable() and tag.isascii():
        return tag[:1024]
    return None


def _next_part(task: _Task, answer: outside.Answer) -> bytes:
    """A whole part, or what is left of the body."""
    part = bytearray()
    while len(part) < PART_BYTES:
        if task.stop.is_set():
            raise _Stopped
        chunk = answer.read(min(READ_BYTES, PART_BYTES - len(part)))
        if not chunk:
            break
        part += chunk
    return bytes(part)


def _finish_fetching(worker: Worker, task: _Task, part: bytes) -> None:
    total = task.received_bytes + len(part)
    if task.size_bytes is not None and total != task.size_bytes:
        raise outside.NotReached(f"the connection ended after {total} of {task.size_bytes} bytes")
    task.size_bytes = total
    _keep_part(worker, task, part)


def _keep_part(worker: Worker, task: _Task, part: bytes) -> None:
    number = task.received_bytes // PART_BYTES
    if part:
        worker.storage.put(_part_key(task.scope, task.lease.row_id, number), part)
    task.received_bytes += len(part)
    _note(worker, task)


def _start_anew(worker: Worker, task: _Task) -> None:
    task.received_bytes, task.size_bytes, task.entity_tag = 0, None, None
    _note(worker, task)


def _note(worker: Worker, task: _Task) -> None:
    """Commit how far it is. Raises _Stopped, _Failed when it takes too long."""

    def change(session: Session, row: DatasetImport) -> None:
        row.received_bytes, row.size_bytes, row.entity_tag = task.received_bytes, task.size_bytes, task.entity_tag
        if task.received_bytes:
            row.failed_tries = 0
        row.status_reason = "reading what came" if task.received_bytes == task.size_bytes else "receiving"
        queue.renew(row, lease_seconds=worker.lease_seconds)
        if row.started_at is not None and database_now(session) - row.started_at > LONGEST:
            raise _Failed(f"it took longer than {LONGEST}")

    if not _guarded(worker, task, change):
        raise _Stopped


# --- reading ---


def _joined(worker: Worker, task: _Task) -> IO[bytes]:
    """All parts as one file. Raises NotReached: they are gone."""
    sizes = [min(PART_BYTES, task.received_bytes - start) for start in range(0, task.received_bytes, PART_BYTES)]
    parts = [(_part_key(task.scope, task.lease.row_id, number), size) for number, size in enumerate(sizes)]
    if not all(worker.storage.exists(key) for key, _ in parts):
        _start_anew(worker, task)
        raise outside.NotReached("what had arrived is gone: it is fetched anew")
    return worker.storage.joined(parts)


def _read(worker: Worker, task: _Task, file: IO[bytes]) -> None:
    """All files of it become files of the dataset. Raises InvalidFiles, DatasetNotFound, _Stopped."""
    with worker.database.unit_of_work(task.scope) as session:
        act_as(session, task.lease.organization_id)
        kind, known = what_is_known(DatasetRepository(session, task.scope), task.dataset_id)
    with READERS[kind](file, task.file_name, task.label, known) as incoming:
        if task.stop.is_set():
            raise _Stopped
        store(worker.storage, task.scope, incoming)
    if not _guarded(worker, task, lambda session, row: _complete(session, row, task, incoming)):
        raise _Stopped
    remove_parts(worker.storage, task.scope, task.lease.row_id)


def _complete(session: Session, row: DatasetImport, task: _Task, incoming: Incoming) -> None:
    record(
        DatasetRepository(session, task.scope),
        task.dataset_id,
        row.id,
        files=incoming.files,
        blobs=incoming.blobs,
    )
    row.file_count = len(incoming.files)
    examples = sum(file.attributes.get("rows", 1) for file in incoming.files)
    noun = "rows" if "rows" in incoming.files[0].attributes else "files"
    _close(session, row, task.lease, "completed", f"{examples} {noun}")


# --- recording ---


def _guarded(worker: Worker, task: _Task, change: Callable[[Session, DatasetImport], None]) -> bool:
    """One transaction on the row; False when the lease is gone or the import is cancelled."""
    with worker.database.unit_of_work() as session:
        act_as(session, task.lease.organization_id)
        row = queue.load_leased(session, DatasetImport, task.lease)
        if row is None or row.cancel_requested_at is not None:
            return False
        change(session, row)
        return True


def _wait(worker: Worker, task: _Task, why: str) -> None:
    """It is tried again later; after some tries without a byte it has failed."""
    failed = False

    def change(session: Session, row: DatasetImport) -> None:
        nonlocal failed
        row.failed_tries += 1
        if row.failed_tries >= MAX_TRIES:
            failed = True
            _close(session, row, task.lease, "failed", f"{why}; tried {row.failed_tries} times")
            return
        seconds = FIRST_WAIT * 2 ** (row.failed_tries - 1)
        row.status_reason = f"{why}; trying again"
        queue.finish(row, task.lease, due_at=database_now(session) + seconds)

    if not _guarded(worker, task, change):
        _end_if_cancelled(worker, task)
    elif failed:
        remove_parts(worker.storage, task.scope, task.lease.row_id)


def _end(worker: Worker, task: _Task, status: str, why: str, *, errors: list[object]) -> None:
    def change(session: Session, row: DatasetImport) -> None:
        row.errors = errors
        _close(session, row, task.lease, status, why)

    if _guarded(worker, task, change):
        remove_parts(worker.storage, task.scope, task.lease.row_id)
    else:
        _end_if_cancelled(worker, task)


def _end_if_cancelled(worker: Worker, task: _Task) -> None:
    with worker.database.unit_of_work() as session:
        act_as(session, task.lease.organization_id)
        row = queue.load_leased(session, DatasetImport, task.lease)
        if row is None or row.cancel_requested_at is None:
            return
        _close(session, row, task.lease, "cancelled", "cancelled")
    remove_parts(worker.storage, task.scope, task.lease.row_id)


def _close(session: Session, row: DatasetImport, lease: Lease, status: str, reason: str) -> None:
    row.access_encrypted = None
    row.ended_at = database_now(session)
    _move(session, row, status, reason)
    queue.finish(row, lease, due_at=None)
    row.due_at = None


def _move(session: Session, row: DatasetImport, status: str, reason: str) -> None:
    transition(session, KIND, row, status, IMPORT_TRANSITIONS, reason=reason, actor=ACTOR)


def _part_key(scope: Scope, import_id: UUID, number: int) -> str:
    return f"{PARTS_PREFIX}{scope.organization_id}/{import_id}/{number:05d}"


def remove_parts(storage: ObjectStore, scope: Scope, import_id: UUID) -> None:
    """Remove what arrived of an import that has ended."""
    for key in storage.keys(f"{PARTS_PREFIX}{scope.organization_id}/{import_id}/"):
        storage.delete(key)
