"""Sealing the audit: unsealed events get their sequence and their place in the hash chain."""

from typing import Final

from backend.audit.service import seal_pending
from worker.app import controls
from worker.context import ControlContext

BATCH: Final = 500


@controls.register("audit.control")
def control(context: ControlContext) -> int:
    """Seal what is pending; returns how many events."""
    with context.database.unit_of_work() as session:
        return seal_pending(session, BATCH)
