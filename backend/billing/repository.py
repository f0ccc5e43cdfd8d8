"""All SQL of billing that sees one tenant."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from backend.billing.models import SpendingHold, UsageRecord
from backend.core.db import Scope


class UsageRepository:
    """Usage records of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def insert_once(self, values: Mapping[str, Any]) -> bool:
        """Add a record unless it collides with one on a unique or exclusion constraint. False = it collided."""
        statement = (
            insert(UsageRecord)
            .values(organization_id=self._scope.organization_id, **values)
            .on_conflict_do_nothing()
            .returning(UsageRecord.id)
        )
        return self._session.scalar(statement) is not None

    def same_start(self, source_id: UUID, sku: str, from_at: datetime) -> UsageRecord | None:
        """The record of this source and SKU that begins at this moment."""
        return self._session.scalars(
            select(UsageRecord).where(
                UsageRecord.organization_id == self._scope.organization_id,
                UsageRecord.source_id == source_id,
                UsageRecord.sku == sku,
                UsageRecord.from_at == from_at,
            )
        ).one_or_none()


class HoldRepository:
    """Spending holds of one organization."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope

    def open_for(self, project_id: UUID | None) -> SpendingHold | None:
        """The oldest open hold on the whole organization or on this project."""
        return self._session.scalars(
            select(SpendingHold)
            .where(
                SpendingHold.organization_id == self._scope.organization_id,
                SpendingHold.lifted_at.is_(None),
                or_(SpendingHold.project_id.is_(None), SpendingHold.project_id == project_id),
            )
            .order_by(SpendingHold.placed_at, SpendingHold.id)
            .limit(1)
        ).one_or_none()
