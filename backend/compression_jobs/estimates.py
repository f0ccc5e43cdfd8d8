"""What a compression job will take, told from those that ran."""

from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from sqlalchemy.orm import Session

from backend.billing import service as billing
from backend.core.db import Scope
from backend.fleet import service as fleet
from backend.jobs import service as jobs
from backend.jobs.models import Job
from backend.jobs.schemas import Market

MOST_LIKE = 20


@dataclass(frozen=True)
class CompressionEstimate:
    """`like_jobs`: how many it is told from. Seconds and dollars; None = not known. `at_most`: at the runtime limit."""

    like_jobs: int
    seconds: float | None
    amount: Decimal | None
    price_per_second: Decimal | None
    at_most_amount: Decimal | None


def estimate_compression(
    session: Session,
    scope: Scope,
    *,
    instance_type: str,
    market: Market,
    max_runtime_seconds: int,
    max_attempts: int,
    keep_alive_seconds: int,
) -> CompressionEstimate:
    """The median of the newest completed compressions on this instance type, at the price in force.

    Raises InstanceTypeUnknown.
    """
    shape = fleet.get_instance_type(session, scope, instance_type)
    price = billing.price_in_force(session, fleet.sku_of(shape.name, market))
    runs = [
        seconds
        for job in jobs.completed_runs(session, scope, "compression", shape.name)[:MOST_LIKE]
        if (seconds := _seconds(job)) is not None
    ]
    seconds = min(median(runs), float(max_runtime_seconds)) if runs else None
    unit = price.amount if price is not None else None
    return CompressionEstimate(
        like_jobs=len(runs),
        seconds=seconds,
        amount=_amount(seconds, unit),
        price_per_second=unit,
        at_most_amount=_amount(float(max_runtime_seconds * max_attempts + keep_alive_seconds), unit),
    )


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.ended_at is None:
        return None
    return (job.ended_at - job.started_at).total_seconds()


def _amount(seconds: float | None, price_per_second: Decimal | None) -> Decimal | None:
    if seconds is None or price_per_second is None:
        return None
    return Decimal(round(seconds * 1000)) / 1000 * price_per_second
