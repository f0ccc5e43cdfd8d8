"""Fetching the file of an import part by part: from where it was, or from the start.

Parts have `PART_BYTES`, each an object and then a committed count (`received_bytes`). While bytes flow no session is
open.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core import outside, queue
from backend.core.clock import database_now
from backend.core.db import Database, Scope, act_as
from backend.core.idempotency import TenantVault
from backend.core.queue import Lease
from backend.core.settings import ImportSettings
from backend.core.storage import ObjectStore
from backend.datasets import sources
from backend.datasets.models import DatasetImport
from backend.datasets.sources import Access

PARTS_PREFIX = "imports/"
PART_BYTES = 8 * 1024 * 1024
READ_BYTES = 256 * 1024
LONGEST = timedelta(hours=24)
GONE = frozenset({400, 401, 403, 404, 405, 406, 410, 451})
CHANGED = frozenset({412, 416})
PARTIAL, OK = 206, 200
IDENTITY = frozenset({"", "identity"})


class Failed(Exception):
    """The import cannot succeed: the sentence says why."""


class Stopped(Exception):
    """Somebody cancelled the import, or the lease is somebody else's."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a step needs."""

    database: Database
    storage: ObjectStore
    vault: TenantVault
    settings: ImportSettings
    lease_seconds: float


class Task(msgspec.Struct, kw_only=True):
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
        """Its organization."""
        return Scope(self.lease.organization_id)


def fetch(worker: Worker, task: Task) -> None:
    """Bring what is missing. Raises Stopped, Failed, AddressRefused, NotReached."""
    if task.received_bytes and task.received_bytes == task.size_bytes:
        return
    if task.received_bytes and task.entity_tag is None:
        start_anew(worker, task)
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
                raise Failed(f"the file has more than {settings.max_bytes} bytes, which is the most that is fetched")
            if len(part) < PART_BYTES:
                _finish_fetching(worker, task, part)
                return
            _keep_part(worker, task, part)


def _check_answer(worker: Worker, task: Task, answer: outside.Answer) -> None:
    if answer.status in CHANGED and task.received_bytes:
        start_anew(worker, task)
        raise outside.NotReached("the content changed at its source: it is fetched anew")
    if answer.status in GONE:
        raise Failed(f"the source refused: it answered {answer.status}")
    if answer.status not in {OK, PARTIAL}:
        raise outside.NotReached(f"the source answered {answer.status}")
    if answer.headers.get("content-encoding", "").lower() not in IDENTITY:
        raise Failed("the source compresses what it sends, which was not asked for")
    tag = _tag(answer)
    if answer.status == PARTIAL and task.received_bytes:
        begins = answer.headers.get("content-range", "").startswith(f"bytes {task.received_bytes}-")
        if not begins or tag != task.entity_tag:
            start_anew(worker, task)
            raise outside.NotReached("the content changed at its source: it is fetched anew")
    elif task.received_bytes:
        start_anew(worker, task)
    task.entity_tag = tag
    length = answer.headers.get("content-length", "")
    task.size_bytes = task.received_bytes + int(length) if length.isascii() and length.isdigit() else None
    if task.size_bytes is not None and task.size_bytes > worker.settings.max_bytes:
        raise Failed(f"the file has {task.size_bytes} bytes; at most {worker.settings.max_bytes} are fetched")


def _tag(answer: outside.Answer) -> str | None:
    """A word for this very content, or None: a weak tag or an odd one says nothing."""
    tag = answer.headers.get("etag", "")
    if tag.startswith('"') and tag.isprintable() and tag.isascii():
        return tag[:1024]
    return None


def _next_part(task: Task, answer: outside.Answer) -> bytes:
    """A whole part, or what is left of the body."""
    part = bytearray()
    while len(part) < PART_BYTES:
        if task.stop.is_set():
            raise Stopped
        chunk = answer.read(min(READ_BYTES, PART_BYTES - len(part)))
        if not chunk:
            break
        part += chunk
    return bytes(part)


def _finish_fetching(worker: Worker, task: Task, part: bytes) -> None:
    total = task.received_bytes + len(part)
    if task.size_bytes is not None and total != task.size_bytes:
        raise outside.NotReached(f"the connection ended after {total} of {task.size_bytes} bytes")
    task.size_bytes = total
    _keep_part(worker, task, part)


def _keep_part(worker: Worker, task: Task, part: bytes) -> None:
    number = task.received_bytes // PART_BYTES
    if part:
        worker.storage.put(_part_key(task.scope, task.lease.row_id, number), part)
    task.received_bytes += len(part)
    _note(worker, task)


def start_anew(worker: Worker, task: Task) -> None:
    """Nothing of it has arrived. Raises Stopped."""
    task.received_bytes, task.size_bytes, task.entity_tag = 0, None, None
    _note(worker, task)


def _note(worker: Worker, task: Task) -> None:
    """Commit how far it is. Raises Stopped, Failed when it takes too long."""

    def change(session: Session, row: DatasetImport) -> None:
        row.received_bytes, row.size_bytes, row.entity_tag = task.received_bytes, task.size_bytes, task.entity_tag
        if task.received_bytes:
            row.failed_tries = 0
        row.status_reason = "reading what came" if task.received_bytes == task.size_bytes else "receiving"
        queue.renew(row, lease_seconds=worker.lease_seconds)
        if row.started_at is not None and database_now(session) - row.started_at > LONGEST:
            raise Failed(f"it took longer than {LONGEST}")

    if not guarded(worker, task, change):
        raise Stopped


def guarded(worker: Worker, task: Task, change: Callable[[Session, DatasetImport], None]) -> bool:
    """One transaction on the row; False when the lease is gone or the import is cancelled."""
    with worker.database.unit_of_work() as session:
        act_as(session, task.lease.organization_id)
        row = queue.load_leased(session, DatasetImport, task.lease)
        if row is None or row.cancel_requested_at is not None:
            return False
        change(session, row)
        return True


def _part_key(scope: Scope, import_id: UUID, number: int) -> str:
    return f"{PARTS_PREFIX}{scope.organization_id}/{import_id}/{number:05d}"


def parts_of(task: Task) -> list[tuple[str, int]]:
    """Keys and sizes in bytes of what has arrived, in order."""
    sizes = [min(PART_BYTES, task.received_bytes - start) for start in range(0, task.received_bytes, PART_BYTES)]
    return [(_part_key(task.scope, task.lease.row_id, number), size) for number, size in enumerate(sizes)]


def remove_parts(storage: ObjectStore, scope: Scope, import_id: UUID) -> None:
    """Remove what arrived of an import that has ended."""
    for key in storage.keys(f"{PARTS_PREFIX}{scope.organization_id}/{import_id}/"):
        storage.delete(key)
