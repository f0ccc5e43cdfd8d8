"""What the control worker does for an import: fetch, read, record. Role *controller*.

The file comes in parts of `PART_BYTES`, each an object and then a committed count (`received_bytes`): whoever takes the
row over after a crash goes on from there, if the source still has the same content and can begin in the middle; else
from the start. While bytes flow no session is open; a thread renews the lease and sees whether somebody cancelled.
A worker that lost its lease records nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO

import msgspec
import structlog
from sqlalchemy.orm import Session

from backend.core import outside, queue
from backend.core.clock import database_now
from backend.core.crypto import Undecipherable
from backend.core.db import Scope, act_as
from backend.core.lifecycle import transition
from backend.core.queue import Lease
from backend.core.storage import StorageFull, StorageUnavailable
from backend.datasets.errors import DatasetNotFound, InvalidFiles
from backend.datasets.fetching import (
    Failed,
    Stopped,
    Task,
    Worker,
    fetch,
    guarded,
    parts_of,
    remove_parts,
    start_anew,
)
from backend.datasets.imports import KIND, purpose
from backend.datasets.ingest import record, store, what_is_known
from backend.datasets.kinds import READERS, Incoming
from backend.datasets.models import DatasetImport
from backend.datasets.repository import DatasetRepository
from backend.datasets.sources import Access
from backend.datasets.states import IMPORT_TRANSITIONS

log = structlog.get_logger(__name__)

ACTOR = "system:datasets"
MAX_TRIES = 6
FIRST_WAIT = timedelta(seconds=5)


def step(worker: Worker, lease: Lease) -> None:
    """Work on one import until it has ended, or must wait, or is somebody else's."""
    task = _begin(worker, lease)
    if task is None:
        return
    try:
        with _kept(worker, task):
            fetch(worker, task)
            with _joined(worker, task) as file:
                _read(worker, task, file)
    except Stopped:
        _end_if_cancelled(worker, task)
    except (outside.NotReached, StorageUnavailable, StorageFull) as error:
        _wait(worker, task, str(error))
    except (outside.AddressRefused, Failed, InvalidFiles, DatasetNotFound) as error:
        _end(worker, task, str(error), errors=error.extra.get("errors", []) if isinstance(error, InvalidFiles) else [])
    except Exception:
        # A mistake of ours must not come back for ever.
        log.exception("import_failed", row=str(lease.row_id))
        _wait(worker, task, "the platform made a mistake")


def _begin(worker: Worker, lease: Lease) -> Task | None:
    """The row as it is; None when there is nothing to do. A cancelled one ends here."""
    with worker.database.unit_of_work() as session:
        act_as(session, lease.organization_id)
        row = queue.load_leased(session, DatasetImport, lease)
        if row is None or row.ended_at is not None:
            return None
        access = _access(worker, session, row)
        if row.cancel_requested_at is None and access is not None:
            if row.status == "queued":
                row.started_at = database_now(session)
                _move(session, row, "running", "asking the source")
            queue.renew(row, lease_seconds=worker.lease_seconds)
            return _task(row, lease, access)
        if row.cancel_requested_at is not None:
            _close(session, row, lease, "cancelled", "cancelled")
        else:
            if row.status == "queued":
                _move(session, row, "running", "asking the source")
            _close(session, row, lease, "failed", "the key that kept its address secret was destroyed")
    remove_parts(worker.storage, Scope(lease.organization_id), lease.row_id)
    return None


def _access(worker: Worker, session: Session, row: DatasetImport) -> Access | None:
    """Address and credentials; None when they cannot be read any more."""
    secret = row.access_encrypted or b""
    try:
        opened = worker.vault.decrypt(session, Scope(row.organization_id), secret, purpose=purpose(row.id))
    except Undecipherable:
        return None
    return msgspec.json.decode(opened, type=Access)


def _task(row: DatasetImport, lease: Lease, access: Access) -> Task:
    return Task(
        lease=lease,
        dataset_id=row.dataset_id,
        access=access,
        file_name=row.file_name,
        label=row.label,
        received_bytes=row.received_bytes,
        size_bytes=row.size_bytes,
        entity_tag=row.entity_tag,
        stop=threading.Event(),
    )


@contextmanager
def _kept(worker: Worker, task: Task) -> Iterator[None]:
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


# --- reading ---


def _joined(worker: Worker, task: Task) -> IO[bytes]:
    """All parts as one file. Raises NotReached: they are gone."""
    parts = parts_of(task)
    if not all(worker.storage.exists(key) for key, _ in parts):
        start_anew(worker, task)
        raise outside.NotReached("what had arrived is gone: it is fetched anew")
    return worker.storage.joined(parts)


def _read(worker: Worker, task: Task, file: IO[bytes]) -> None:
    """All files of it become files of the dataset. Raises InvalidFiles, DatasetNotFound, Stopped."""
    with worker.database.unit_of_work(task.scope) as session:
        act_as(session, task.lease.organization_id)
        kind, known = what_is_known(DatasetRepository(session, task.scope), task.dataset_id)
    with READERS[kind](file, task.file_name, task.label, known) as incoming:
        if task.stop.is_set():
            raise Stopped
        store(worker.storage, task.scope, incoming)
    if not guarded(worker, task, lambda session, row: _complete(session, row, task, incoming)):
        raise Stopped
    remove_parts(worker.storage, task.scope, task.lease.row_id)


def _complete(session: Session, row: DatasetImport, task: Task, incoming: Incoming) -> None:
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


def _wait(worker: Worker, task: Task, why: str) -> None:
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

    if not guarded(worker, task, change):
        _end_if_cancelled(worker, task)
    elif failed:
        remove_parts(worker.storage, task.scope, task.lease.row_id)


def _end(worker: Worker, task: Task, why: str, *, errors: list[object]) -> None:
    def change(session: Session, row: DatasetImport) -> None:
        row.errors = errors
        _close(session, row, task.lease, "failed", why)

    if guarded(worker, task, change):
        remove_parts(worker.storage, task.scope, task.lease.row_id)
    else:
        _end_if_cancelled(worker, task)


def _end_if_cancelled(worker: Worker, task: Task) -> None:
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
