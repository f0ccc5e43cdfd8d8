"""Control tasks of events told outside: publish the outbox, send what is due, forget old deliveries.

Receivers may take seconds to answer, and a tick must not wait for them: each attempt runs in a thread of its own,
a few at once, at most two for one subscription. The lease is the delivery's: a worker that dies in between loses
nothing, the delivery is sent again (under the same id) when its lease has expired.
"""

import threading
import time
from collections import Counter
from functools import cache, cached_property
from typing import Final
from uuid import UUID

import structlog

from backend.core import queue
from backend.core.crypto import LocalKms
from backend.core.db import act_as
from backend.core.queue import Lease
from backend.core.settings import require
from backend.events.models import EventDelivery
from backend.events.outcomes import Message, prepare, record, send
from backend.events.publishing import publish_next
from backend.events.repository import purge, ready
from backend.identity.vault import Vault
from worker.app import controls
from worker.context import ControlContext
from worker.leases import until_done

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
PER_SUBSCRIPTION: Final = 2
PURGE_SECONDS: Final = 3600.0
PURGE_BATCH: Final = 1000


class Courier:
    """Sends due deliveries in threads of its own."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._busy: Counter[UUID] = Counter()
        self._changed = threading.Condition()
        self._sending = 0

    @cached_property
    def _vault(self) -> Vault:
        """Opens signing secrets; RuntimeError where the process has no master key."""
        key = require(self._context.settings.security.master_key, "MODELYARD_SECURITY__MASTER_KEY")
        return Vault(LocalKms(key))

    def send_due(self) -> int:
        """Begin attempts while there are free hands and due deliveries; returns how many began."""
        begun = 0
        while self._reserve():
            try:
                found = self._claim()
            except BaseException:
                self._release(None)
                raise
            if found is None:
                self._release(None)
                return begun
            lease, message = found
            if message is None:
                self._release(None)
                continue
            with self._changed:
                self._busy[message.subscription_id] += 1
            threading.Thread(target=self._deliver, args=(lease, message), name="courier", daemon=True).start()
            begun += 1
        return begun

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is being sent. False = it still is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._sending == 0, seconds)

    def _reserve(self) -> bool:
        with self._changed:
            if self._sending >= AT_ONCE:
                return False
            self._sending += 1
            return True

    def _release(self, subscription_id: UUID | None) -> None:
        with self._changed:
            self._sending -= 1
            if subscription_id is not None:
                self._busy[subscription_id] -= 1
            self._changed.notify_all()

    def _claim(self) -> tuple[Lease, Message | None] | None:
        with self._changed:
            full = [each for each, count in self._busy.items() if count >= PER_SUBSCRIPTION]
        context = self._context
        seconds = context.settings.control.lease_seconds
        with context.database.unit_of_work() as session:
            leases = queue.claim(session, EventDelivery, lease_seconds=seconds, limit=1, where=ready(full))
        if not leases:
            return None
        with context.database.unit_of_work() as session:
            act_as(session, leases[0].organization_id)
            return leases[0], prepare(session, self._vault, context.settings, leases[0])

    def _deliver(self, lease: Lease, message: Message) -> None:
        try:
            began = time.monotonic()
            outcome = send(self._context.settings, message)
            milliseconds = int((time.monotonic() - began) * 1000)
            with self._context.database.unit_of_work() as session:
                act_as(session, lease.organization_id)
                record(session, self._context.settings.events, lease, outcome, duration_ms=milliseconds)
        except Exception:
            # The lease expires, and the delivery is sent again.
            log.exception("delivery_not_recorded", delivery=str(lease.row_id))
        finally:
            self._release(message.subscription_id)
        try:
            self.send_due()
        except Exception:
            log.exception("courier_stopped")  # the next tick begins anew


@cache
def courier_of(context: ControlContext) -> Courier:
    """The courier of this process."""
    return Courier(context)


@controls.register("events.control")
def control(context: ControlContext) -> int:
    """Publish what waits and begin to send what is due; returns how many events and attempts."""
    published = 0

    def batch() -> bool:
        nonlocal published
        with context.database.unit_of_work() as session:
            done = publish_next(session)
        published += done
        return done > 0

    until_done(batch)
    return published + courier_of(context).send_due()


@controls.register("events.purge", every_seconds=PURGE_SECONDS)
def forget_old(context: ControlContext) -> int:
    """Delete deliveries that the log is over for; returns how many."""
    with context.database.unit_of_work() as session:
        return purge(session, days=context.settings.events.keep_days, limit=PURGE_BATCH)
