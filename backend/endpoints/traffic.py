"""What endpoints were asked and how they answered, from the usage segments that have arrived (some seconds behind)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.clock import database_now
from backend.core.db import Scope
from backend.endpoints.errors import TrafficPeriodInvalid
from backend.endpoints.latency import quantile_ms
from backend.endpoints.service import get_endpoint
from backend.endpoints.traffic_repository import TrafficRepository

LONGEST = timedelta(days=7)
Counts = Mapping[int, int]
"""Calls by bucket of `wire.UsageLine.latency`."""


@dataclass(frozen=True)
class Traffic:
    """Sums of an endpoint's traffic in [from_at, to_at): per variant, and per minute and variant.

    `latencies` has the calls by bucket of their latency: by (variant,) and by (minute, variant).
    """

    from_at: datetime
    to_at: datetime
    variants: Sequence[Any]
    minutes: Sequence[Any]
    latencies: Mapping[tuple[Any, ...], Counts]

    def latency(self, *key: Any, share: float) -> float | None:  # noqa: ANN401 - a variant, or a minute and a variant
        """The latency in milliseconds that `share` of the calls did not exceed; None where nobody measured."""
        return quantile_ms(self.latencies.get(key, {}), share)


@dataclass(frozen=True)
class Summary:
    """An endpoint's traffic in one line. Latencies in milliseconds, None where nobody measured."""

    calls: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


def read_traffic(
    session: Session, scope: Scope, endpoint_id: UUID, *, from_at: datetime | None, to_at: datetime | None
) -> Traffic:
    """Traffic of an endpoint; by default of the last hour. Raises EndpointNotFound, TrafficPeriodInvalid."""
    get_endpoint(session, scope, endpoint_id)
    end = to_at or database_now(session)
    start = from_at or end - timedelta(hours=1)
    if not timedelta(0) < end - start <= LONGEST:
        raise TrafficPeriodInvalid(f"a traffic period runs forward, for at most {LONGEST.days} days")
    traffic = TrafficRepository(session, scope)
    return Traffic(
        start,
        end,
        traffic.sums(endpoint_id, start, end, per_minute=False),
        traffic.sums(endpoint_id, start, end, per_minute=True),
        traffic.latencies([endpoint_id], start, end, per="variant")
        | traffic.latencies([endpoint_id], start, end, per="minute"),
    )


def summarize(
    session: Session, scope: Scope, endpoint_ids: Sequence[UUID], *, within: timedelta = timedelta(hours=1)
) -> dict[UUID, Summary]:
    """The traffic of several endpoints `within` the time until now; one without traffic is left out."""
    if not endpoint_ids:
        return {}
    end = database_now(session)
    traffic = TrafficRepository(session, scope)
    latencies = traffic.latencies(endpoint_ids, end - within, end, per="endpoint")
    return {
        id_: Summary(
            calls,
            errors,
            quantile_ms(latencies.get((id_,), {}), 0.5),
            quantile_ms(latencies.get((id_,), {}), 0.95),
        )
        for id_, (calls, errors) in traffic.totals(endpoint_ids, end - within, end).items()
    }
