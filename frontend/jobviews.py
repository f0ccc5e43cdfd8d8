"""Rows of the job engine as view models."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from backend.core.auth import Principal
from backend.core.lifecycle import Event
from backend.jobs import states
from backend.jobs.models import Attempt, Checkpoint, Job
from frontend.views import AttemptView, Bar, CheckpointView, EventView, FailureView, JobSummary

ACTORS = {"api_key": "API key"}


def plain_reason(reason: str, status: str) -> str | None:
    """The reason, unless it only repeats the status."""
    return None if not reason or reason.lower() == status else reason


def seconds_between(start: datetime | None, end: datetime | None, now: datetime) -> float | None:
    """How long it lasted, or has lasted so far; None where it has not begun."""
    return None if start is None else max(((end or now) - start).total_seconds(), 0.0)


def summary(
    job: Job,
    *,
    now: datetime,
    projects: Mapping[UUID, str],
    costs: Mapping[UUID, Decimal],
    attempt: Attempt | None = None,
) -> JobSummary:
    """A job for the list; with its open attempt, also the time left."""
    final = job.status in states.FINAL
    share = progress_share(job.progress)
    return JobSummary(
        id=str(job.id),
        name=job.name,
        kind=job.kind,
        status=job.status,
        final=final,
        stopping=job.stop_requested_at is not None and not final,
        project_name=projects.get(job.project_id, str(job.project_id)),
        instance_type=job.instance_type,
        reason=plain_reason(job.status_reason, job.status),
        phase=job.progress.get("phase") or None,
        progress=share,
        seconds_left=None if final or attempt is None else seconds_left(job.progress, attempt, now),
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        seconds=seconds_between(job.started_at, job.ended_at, now),
        cost=costs.get(job.id),
    )


def progress_share(progress: Mapping[str, Any]) -> float | None:
    """Steps done of all steps, in [0, 1]; None where the job has not said how many there are."""
    total = progress.get("total_steps") or 0
    return None if total <= 0 else min(max(progress.get("step", 0) / total, 0.0), 1.0)


def seconds_left(progress: Mapping[str, Any], attempt: Attempt, now: datetime) -> float | None:
    """Steps to go at the attempt's pace so far; None before its first step."""
    total, step = progress.get("total_steps") or 0, progress.get("step", 0)
    done = step - (attempt.resumed_from_step or 0)
    ran = seconds_between(attempt.started_at, attempt.ended_at, now)
    if total <= 0 or done <= 0 or not ran:
        return None
    return float(max(total - step, 0) * ran / done)


def attempt_view(attempt: Attempt, *, now: datetime) -> AttemptView:
    """One try."""
    return AttemptView(
        number=attempt.number,
        status=attempt.status,
        instance=str(attempt.instance_id),
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        seconds=seconds_between(attempt.started_at, attempt.ended_at, now),
        reason=plain_reason(attempt.status_reason, attempt.status),
        resumed_from_step=attempt.resumed_from_step,
        failure_class=(attempt.failure or {}).get("failure_class"),
    )


def checkpoint_views(checkpoints: Sequence[Checkpoint], attempts: Sequence[Attempt]) -> list[CheckpointView]:
    """Complete checkpoints, newest first."""
    numbers = {attempt.id: attempt.number for attempt in attempts}
    return [
        CheckpointView(
            step=one.step,
            attempt=numbers.get(one.attempt_id, 0),
            at=one.created_at,
            files=len(one.files),
            size_bytes=sum(file.get("size_bytes", 0) for file in one.files),
        )
        for one in reversed(checkpoints)
    ]


def timeline(job: Job, attempts: Sequence[Attempt], now: datetime) -> list[Bar]:
    """The job's time from its submission on: attempts, and the waits before them."""
    end = job.ended_at or now
    whole = max((end - job.created_at).total_seconds(), 1e-3)
    bars: list[Bar] = []
    reached = job.created_at

    def add(attempt: int | None, status: str, until: datetime) -> None:
        nonlocal reached
        seconds = (until - reached).total_seconds()
        if seconds > 0:
            left = (reached - job.created_at).total_seconds() / whole * 1000
            width = seconds / whole * 1000
            bars.append(Bar(attempt=attempt, status=status, left=left, width=width, seconds=seconds))
            reached = until

    for one in attempts:
        if one.started_at is not None:
            add(None, states.QUEUED, one.started_at)
            add(one.number, one.status, one.ended_at or end)
    add(None, states.QUEUED, end)
    return bars


def event_view(event: Event, viewer: Principal) -> EventView:
    """One change of status."""
    kind = event.actor.partition(":")[0]
    who = viewer.name if event.actor == viewer.actor else ACTORS.get(kind, kind.replace("_", " "))
    return EventView(
        at=event.at,
        subject=event.resource_kind,
        to_status=event.to_status,
        reason=plain_reason(event.reason, event.to_status),
        who=who,
    )


def failure_view(job: Job) -> FailureView | None:
    """Why the job failed; None where it did not."""
    if job.status != states.FAILED or job.failure is None:
        return None
    said = job.failure
    return FailureView(
        failure_class=said["failure_class"],
        reason=said["reason"],
        hint=said.get("hint"),
        exit_code=said.get("exit_code"),
        peak_memory_bytes=said.get("peak_memory_bytes"),
        log_tail=said.get("log_tail") or [],
    )


def facts(job: Job) -> dict[str, Mapping[str, Any]]:
    """What was asked for and what came of it, flat, without what is empty."""
    every: Sequence[tuple[str, Mapping[str, Any]]] = (
        ("output", job.output),
        ("parameters", job.parameters),
        ("inputs", job.inputs),
        ("tags", job.tags),
    )
    return {title: dict(flat(values)) for title, values in every if values}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted names: `hyperparameters.augmentation.scale_minimum`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
