"""The doorbell: a Celery worker on the instance's own queue whose one task wakes the sync loop.

It runs in a daemon thread (pool `solo`, no remote control, gossip, mingle or heartbeat), under a broker user that can
touch only the keys of this instance. It carries no state: with the broker away, emptied or wrong, the agent
syncs on its timer, and this thread tries to connect again for ever.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from backend.core.wire import HelloReply

TASK_NAME = "agent.sync"
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
_LOG = logging.getLogger(__name__)


class Doorbell:
    """Listens from `start` on; `ring` is called once per doorbell, from another thread."""

    def __init__(self, hello: HelloReply, ring: Callable[[], None]) -> None:
        self._hello = hello
        self._ring = ring
        self._ended = threading.Event()
        self._worker: Any = None
        self._thread = threading.Thread(target=self._listen_for_ever, name="doorbell", daemon=True)

    def start(self) -> None:
        """Listen, in the background. No broker address: nothing to listen to."""
        if self._hello.broker_url:
            self._thread.start()

    def stop(self) -> None:
        """Stop listening; the thread dies with the process."""
        self._ended.set()
        worker = self._worker
        if worker is not None:
            worker.should_stop = True

    def _listen_for_ever(self) -> None:
        tries = 0
        while not self._ended.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 # whatever a broker does, the agent goes on
                _LOG.warning("doorbell: %s: %s; the timer goes on alone", type(error).__name__, error)
            except SystemExit as error:  # Celery's way to end a worker
                _LOG.warning("doorbell: the worker ended (%s); the timer goes on alone", error)
            self._ended.wait(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1

    def _listen(self) -> None:
        app = doorbell_app(self._hello, self._ring)
        self._worker = app.WorkController(
            app=app,
            pool_cls="solo",
            concurrency=1,
            queues=[self._hello.broker_queue],
            hostname=f"agent@{self._hello.instance_id}",
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
            loglevel="ERROR",
        )
        self._worker.start()


def doorbell_app(hello: HelloReply, ring: Callable[[], None]) -> Any:  # noqa: ANN401 # Celery has no types
    """A Celery app that knows one queue and one task."""
    from celery import Celery  # noqa: PLC0415 # 25 MB that an agent without a broker does without

    app = Celery("modelyard-agent", broker=hello.broker_url, set_as_current=False, fixups=[])
    app.conf.update(
        broker_transport_options={"global_keyprefix": hello.broker_prefix, "socket_connect_timeout": 3.0},
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        task_ignore_result=True,
        result_backend=None,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        event_queue_expires=60.0,
    )

    @app.task(name=TASK_NAME, ignore_result=True)  # type: ignore[untyped-decorator] # Celery has no types
    def sync(*_arguments: object, **_options: object) -> None:
        ring()

    return app
