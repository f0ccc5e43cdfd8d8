"""Doorbells: hints that a row may be due, rung through Celery's broker, never state (★1).

A transaction's doorbells are handed over after its commit. One thread per process rings them: retries off,
failures counted and never raised, equal bells waiting are rung once. With the broker gone nothing is lost but
promptness: the control worker ticks by itself.

Messages go by queue name only (the anonymous exchange): a named exchange forgets its bindings when the broker is
emptied, and then loses messages silently.
"""

import hashlib
import hmac
import threading
from collections.abc import Sequence
from urllib.parse import quote, urlsplit, urlunsplit

import structlog
from celery import Celery
from prometheus_client import Counter

from backend.core.db import Doorbell

log = structlog.get_logger(__name__)

RUNG = Counter("modelyard_doorbells_total", "Doorbells by what became of them", ["outcome"])
MAX_WAITING = 1000


class Bell:
    """Rings doorbells off the caller's path. Call it with doorbells; it never blocks and never raises."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery("modelyard-bell", broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            broker_transport_options={"socket_connect_timeout": 1.0, "socket_timeout": 2.0},
            broker_connection_retry=False,
            task_ignore_result=True,
        )
        self._waiting: dict[Doorbell, None] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __call__(self, doorbells: Sequence[Doorbell]) -> None:
        """Take doorbells over; the ringing thread starts with the first."""
        with self._changed:
            for doorbell in doorbells:
                if len(self._waiting) < MAX_WAITING:
                    self._waiting[doorbell] = None
                else:
                    RUNG.labels("dropped").inc()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bell", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                doorbells = list(self._waiting)
                self._waiting.clear()
            for doorbell in doorbells:
                self._ring(doorbell)

    def _ring(self, doorbell: Doorbell) -> None:
        try:
            self._celery.send_task(doorbell.task, queue=doorbell.queue, retry=False, ignore_result=True, expires=60)
            RUNG.labels("rung").inc()
        except Exception as error:  # noqa: BLE001 - any broker failure only costs promptness
            RUNG.labels("failed").inc()
            log.debug("doorbell_not_rung", task=doorbell.task, error=str(error))


def with_credentials(broker_url: str, username: str, password: str) -> str:
    """The same broker address for another user (TCP and Unix socket addresses alike)."""
    parts = urlsplit(broker_url)
    address = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(username, safe='')}:{quote(password, safe='')}@{address}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))


def agent_password(secret: str, instance_id: str) -> str:
    """The broker password of an instance's agent: derived, so that any process with the secret knows it."""
    return hmac.new(secret.encode(), instance_id.encode(), hashlib.sha256).hexdigest()
