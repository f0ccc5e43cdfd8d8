"""The clock: which controls beat rings and how often. An application of its own, so that beat stays small.

Beat only hurries; the control worker ticks by itself (★1).
"""

from typing import Any

from celery import Celery

from backend.core.settings import Settings

SCHEDULE: dict[str, dict[str, Any]] = {
    "jobs": {"task": "jobs.control", "schedule": 5.0, "options": {"expires": 5}},
    "fleet": {"task": "fleet.control", "schedule": 5.0, "options": {"expires": 5}},
    "reconcile": {"task": "fleet.reconcile", "schedule": 15.0, "options": {"expires": 15}},
    "endpoints": {"task": "endpoints.control", "schedule": 5.0, "options": {"expires": 5}},
    "events": {"task": "events.control", "schedule": 5.0, "options": {"expires": 5}},
    "billing": {"task": "billing.control", "schedule": 10.0, "options": {"expires": 10}},
    "audit": {"task": "audit.control", "schedule": 10.0, "options": {"expires": 10}},
}
BEATEN = {"rung_by": "beat"}
"""A header of everything beat rings: the control worker notes when it last heard the clock."""
for _entry in SCHEDULE.values():
    _entry["options"]["headers"] = BEATEN
TRANSPORT_OPTIONS = {"socket_connect_timeout": 2.0, "socket_keepalive": True, "visibility_timeout": 3600}

app = Celery("modelyard-beat")
app.conf.update(
    beat_schedule=SCHEDULE,
    broker_transport_options=TRANSPORT_OPTIONS,
    task_default_queue="control",
    task_ignore_result=True,
)


def read_broker(celery: Celery) -> None:
    """The broker's address from the environment, read when a process starts, not at import."""
    url = Settings().broker.url
    if url is not None:
        celery.conf.broker_url = url.get_secret_value()


@app.on_configure.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def _on_configure(**_: Any) -> None:  # noqa: ANN401 - Celery's signal arguments
    read_broker(app)
