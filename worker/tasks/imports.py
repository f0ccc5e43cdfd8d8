"""Control task of imports: lease what is due and work on it in threads of its own, a few at a time.

An import takes as long as its file is large; the tick and the other controls do not wait for it.
"""

import threading

import structlog

from backend.core import queue
from backend.core.crypto import LocalKms
from backend.core.queue import Lease
from backend.core.settings import require
from backend.datasets import fetching, importing
from backend.datasets.models import DatasetImport
from backend.identity.vault import Vault
from worker.app import controls
from worker.context import ControlContext
from worker.leases import work_through

log = structlog.get_logger(__name__)


class Hands:
    """How many imports this process works on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0

    def take(self, most: int) -> bool:
        """One more, unless there are as many as may be."""
        with self._lock:
            if self._busy >= most:
                return False
            self._busy += 1
            return True

    def give_back(self) -> None:
        """One less."""
        with self._lock:
            self._busy -= 1


_hands = Hands()


@controls.register("datasets.imports")
def control(context: ControlContext) -> int:
    """Begin to work on due imports; returns how many."""
    begun = 0
    while _hands.take(context.settings.imports.at_once):
        try:
            lease = _claim(context)
        except Exception:
            _hands.give_back()
            raise
        if lease is None:
            _hands.give_back()
            break
        threading.Thread(target=_work, args=(context, lease), name="import", daemon=True).start()
        begun += 1
    return begun


def _claim(context: ControlContext) -> Lease | None:
    with context.database.unit_of_work() as session:
        leases = queue.claim(session, DatasetImport, lease_seconds=context.settings.control.lease_seconds, limit=1)
    return leases[0] if leases else None


def _work(context: ControlContext, lease: Lease) -> None:
    try:
        work_through(context, DatasetImport, [lease], step)
    finally:
        _hands.give_back()


def step(context: ControlContext, lease: Lease) -> None:
    """One import, until it has ended or must wait."""
    master_key = require(context.settings.security.master_key, "MODELYARD_SECURITY__MASTER_KEY")
    worker = fetching.Worker(
        database=context.database,
        storage=context.storage,
        vault=Vault(LocalKms(master_key)),
        settings=context.settings.imports,
        lease_seconds=context.settings.control.lease_seconds,
    )
    importing.step(worker, lease)
