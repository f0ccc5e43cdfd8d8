"""The Celery app: queues, the beat table, and the control worker's own tick.

The control worker consumes the queue `control`. Each task is short and idempotent: it leases due rows, acts,
records. Beside Celery a thread ticks every two seconds straight from Postgres and runs the same controls, so with the
broker stopped or emptied, or beat dead, everything still moves (★1).
"""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery, signals
from sqlalchemy.exc import SQLAlchemyError

from backend import kinds
from backend.core import ticks
from backend.core.settings import Settings
from worker.beat import SCHEDULE, TRANSPORT_OPTIONS, read_broker
from worker.context import ControlContext, build_context

log = structlog.get_logger(__name__)

Control = Callable[[ControlContext], int]

app = Celery("modelyard")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options=TRANSPORT_OPTIONS,
    task_acks_late=True,
    task_default_queue="control",
    task_ignore_result=True,
    task_reject_on_worker_lost=True,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_prefetch_multiplier=1,
    worker_send_task_events=False,
    beat_schedule=SCHEDULE,
)


NOTE_SECONDS = 5.0


@dataclass(frozen=True)
class _LastRun:
    """When a control's last run ended (monotonic seconds), how long it took, and what failed since the last note."""

    ended: float
    seconds: float
    failure: str | None


class Controls:
    """The controls by task name, and the context they run in; the tick runs them in this order.

    A control with `every_seconds` is left out of ticks that come sooner; a doorbell or beat runs it all the same.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, Control] = {}
        self._every: dict[str, float] = {}
        self._next: dict[str, float] = {}
        self._context: ControlContext | None = None
        self._lock = threading.Lock()
        self._runs: dict[str, _LastRun] = {}
        self._noted_at = 0.0

    def register(self, name: str, *, every_seconds: float = 0.0) -> Callable[[Control], Control]:
        """Make a control callable as a Celery task of that name, and part of the tick."""

        def add(control: Control) -> Control:
            self.by_name[name] = control
            self._every[name] = every_seconds

            def run(task: Any) -> int:  # noqa: ANN401 - Celery ships no types
                if (task.request.get("headers") or {}).get("rung_by") == "beat":
                    self.heard_beat()
                return self.run(name)

            app.task(name=name, bind=True)(run)
            return control

        return add

    @property
    def context(self) -> ControlContext:
        """The process's context, built on first use."""
        with self._lock:
            if self._context is None:
                kinds.install()
                self._context = build_context(Settings())
            return self._context

    def run(self, name: str) -> int:
        """Run one control; returns the rows it handled."""
        began, failure = time.monotonic(), None
        try:
            return self.by_name[name](self.context)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            now = time.monotonic()
            before = self._runs.get(name)
            kept = failure if failure is not None or before is None else before.failure
            self._runs[name] = _LastRun(now, now - began, kept)

    def heard_beat(self) -> None:
        """Beat rang: the clock lives."""
        self._runs[ticks.BEAT] = _LastRun(time.monotonic(), 0.0, None)

    def note(self, *, every_seconds: float = NOTE_SECONDS) -> None:
        """Write what ran last, for people who look whether the platform moves; at most this often, never raises."""
        now = time.monotonic()
        if self._noted_at + every_seconds > now:
            return
        self._noted_at = now
        found, self._runs = self._runs, {}
        runs = [
            ticks.Run(name, now - run.ended, run.seconds, run.failure, self._every.get(name, 0.0))
            for name, run in sorted(found.items())
        ]
        try:
            with self.context.database.unit_of_work() as session:
                ticks.note(session, socket.gethostname(), runs)
        except SQLAlchemyError as error:
            log.warning("ticks_not_noted", error=str(error)[:300])

    def due(self, now: float) -> list[str]:
        """The controls whose time has come at `now` (monotonic seconds); their next time is set."""
        names = [name for name in self.by_name if self._next.get(name, now) <= now]
        self._next.update({name: now + self._every[name] for name in names})
        return names

    def tick(self) -> None:
        """Run every control that is due once. One that fails is logged and does not stop the others."""
        for name in self.due(time.monotonic()):
            try:
                self.run(name)
            except Exception:
                log.exception("control_failed", control=name)

    def tick_for_ever(self, stop: threading.Event, seconds: float) -> None:
        """Tick until `stop` is set."""
        while not stop.wait(seconds):
            self.tick()
            self.note()


controls = Controls()
_stop = threading.Event()


@signals.worker_init.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _start_ticking(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    seconds = Settings().control.tick_seconds
    threading.Thread(target=controls.tick_for_ever, args=(_stop, seconds), name="tick", daemon=True).start()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _stop_ticking(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    _stop.set()


@app.on_configure.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _read_broker(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    read_broker(app)


import worker.tasks.control  # noqa: E402, F401 - the tasks register themselves with the app above
