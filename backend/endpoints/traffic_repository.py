"""All SQL of usage segments and traffic, within one organization."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, Row, cast, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.endpoints.models import UsageSegment, VariantTraffic
from backend.identity.models import ApiKey

SUMMED = ("calls", "items", "errors", "bytes_in", "bytes_out", "compute_us")
Per = Literal["endpoint", "variant", "minute"]


class TrafficRepository:
    """Usage segments and traffic of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    def strange_keys(self, key_ids: set[UUID]) -> set[UUID]:
        """Those that are no API key of the organization; a revoked key is one."""
        known = self._session.scalars(
            select(ApiKey.id).where(ApiKey.organization_id == self._organization_id, ApiKey.id.in_(key_ids))
        )
        return key_ids - set(known)

    def insert_segment(self, **values: object) -> bool:
        """Add a segment. False = its id is known."""
        statement = (
            insert(UsageSegment)
            .values(organization_id=self._organization_id, **values)
            .on_conflict_do_nothing()
            .returning(UsageSegment.segment_id)
        )
        return self._session.scalar(statement) is not None

    def segment(self, segment_id: UUID) -> UsageSegment | None:
        """One accepted segment."""
        return self._session.scalars(
            select(UsageSegment).where(
                UsageSegment.organization_id == self._organization_id, UsageSegment.segment_id == segment_id
            )
        ).one_or_none()

    def add_traffic(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append the sums of one segment."""
        own = {"organization_id": self._organization_id}
        self._session.execute(insert(VariantTraffic), [{**row, **own} for row in rows])

    def compute(self, replica_id: UUID, from_at: datetime, to_at: datetime) -> list[tuple[str, int]]:
        """(variant, microseconds of compute) of a replica's traffic that begins in [from_at, to_at)."""
        rows = self._session.execute(
            select(VariantTraffic.variant, func.sum(VariantTraffic.compute_us))
            .where(
                VariantTraffic.organization_id == self._organization_id,
                VariantTraffic.replica_id == replica_id,
                VariantTraffic.from_at >= from_at,
                VariantTraffic.from_at < to_at,
            )
            .group_by(VariantTraffic.variant)
            .order_by(VariantTraffic.variant)
        )
        return [(variant, int(compute)) for variant, compute in rows]

    def sums(self, endpoint_id: UUID, from_at: datetime, to_at: datetime, *, per_minute: bool) -> Sequence[Row[Any]]:
        """Sums per variant, or per minute and variant, of traffic that begins in [from_at, to_at)."""
        minute = func.date_trunc("minute", VariantTraffic.from_at).label("minute")
        by: list[ColumnElement[Any]] = [minute] if per_minute else []
        by.append(VariantTraffic.variant.label("variant"))
        sums = [func.sum(getattr(VariantTraffic, name)).label(name) for name in SUMMED]
        return self._session.execute(
            select(*by, *sums)
            .where(
                VariantTraffic.organization_id == self._organization_id,
                VariantTraffic.endpoint_id == endpoint_id,
                VariantTraffic.from_at >= from_at,
                VariantTraffic.from_at < to_at,
            )
            .group_by(*by)
            .order_by(*by)
        ).all()

    def totals(self, endpoint_ids: Sequence[UUID], from_at: datetime, to_at: datetime) -> dict[UUID, tuple[int, int]]:
        """(calls, errors) by endpoint, of traffic that begins in [from_at, to_at); one without is left out."""
        rows = self._session.execute(
            select(VariantTraffic.endpoint_id, func.sum(VariantTraffic.calls), func.sum(VariantTraffic.errors))
            .where(*self._within(endpoint_ids, from_at, to_at))
            .group_by(VariantTraffic.endpoint_id)
        )
        return {endpoint_id: (int(calls), int(errors)) for endpoint_id, calls, errors in rows}

    def latencies(
        self, endpoint_ids: Sequence[UUID], from_at: datetime, to_at: datetime, *, per: Per
    ) -> dict[tuple[Any, ...], dict[int, int]]:
        """Calls by bucket of latency, by (endpoint,), (variant,) or (minute, variant), of traffic that begins in
        [from_at, to_at).
        """
        minute = func.date_trunc("minute", VariantTraffic.from_at).label("minute")
        variant = VariantTraffic.variant.label("variant")
        columns: dict[Per, list[ColumnElement[Any]]] = {
            "endpoint": [VariantTraffic.endpoint_id.label("endpoint")],
            "variant": [variant],
            "minute": [minute, variant],
        }
        by = columns[per]
        counted = func.jsonb_each_text(VariantTraffic.latency).table_valued("key", "value", name="counted")
        bucket = cast(counted.c.key, Integer).label("bucket")
        rows = self._session.execute(
            select(*by, bucket, func.sum(cast(counted.c.value, BigInteger)))
            .select_from(VariantTraffic)
            .join(counted, true())
            .where(*self._within(endpoint_ids, from_at, to_at))
            .group_by(*by, bucket)
        )
        found: dict[tuple[Any, ...], dict[int, int]] = {}
        for *key, place, count in rows:
            found.setdefault(tuple(key), {})[place] = int(count)
        return found

    def _within(self, endpoint_ids: Sequence[UUID], from_at: datetime, to_at: datetime) -> list[ColumnElement[bool]]:
        return [
            VariantTraffic.organization_id == self._organization_id,
            VariantTraffic.endpoint_id.in_(endpoint_ids),
            VariantTraffic.from_at >= from_at,
            VariantTraffic.from_at < to_at,
        ]
