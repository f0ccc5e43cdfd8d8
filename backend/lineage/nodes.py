"""What a lineage is made of: references, nodes and the ids of invoice lines."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from backend.lineage.schemas import Kind

SEPARATOR = "~"
_ADDRESSES: dict[Kind, str] = {
    "dataset_version": "/api/v1/dataset-versions/{}",
    "job": "/api/v1/jobs/{}",
    "model_version": "/api/v1/model-versions/{}",
    "endpoint": "/api/v1/endpoints/{}",
}


@dataclass(frozen=True)
class Ref:
    """Something, by kind and id."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @property
    def uuid(self) -> UUID:
        """The id of a row."""
        return UUID(self.id)


@dataclass
class Node:
    """Something with what is shown of it. `belongs` is the row above it: an attempt's job, a variant's endpoint."""

    ref: Ref
    name: str
    detail: str = ""
    created_at: datetime | None = None
    belongs: str | None = None
    level: int = 0
    more: bool = False

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return self.ref.kind

    @property
    def id(self) -> str:
        """Its id."""
        return self.ref.id

    @property
    def href(self) -> str | None:
        """Its address in the API; of what has none, that of what it belongs to."""
        if self.kind in _ADDRESSES:
            return _ADDRESSES[self.kind].format(self.id)
        if self.kind in {"attempt", "checkpoint"}:
            return f"/api/v1/jobs/{self.belongs}"
        return f"/api/v1/endpoints/{self.belongs}" if self.kind == "variant" else None


@dataclass(frozen=True)
class LineKey:
    """What makes a line of an invoice: month, resource, SKU, variant and unit price."""

    month: str
    resource_kind: str
    resource_id: UUID
    sku: str
    variant: str
    unit_price: Decimal

    @property
    def ref(self) -> Ref:
        """The line's id: its parts, readable."""
        price = format(self.unit_price.normalize(), "f")
        parts = (self.month, self.resource_kind, str(self.resource_id), self.sku, self.variant, price)
        return Ref("invoice_line", SEPARATOR.join(parts))

    @property
    def period(self) -> tuple[datetime, datetime]:
        """[start, end) of the month, in UTC."""
        start = datetime.strptime(self.month, "%Y-%m").replace(tzinfo=UTC)
        return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def read_line(text: str) -> LineKey | None:
    """The key in an invoice line's id; None for what is no such id."""
    try:
        month, resource_kind, resource_id, sku, variant, price = text.split(SEPARATOR)
        key = LineKey(month, resource_kind, UUID(resource_id), sku, variant, Decimal(price))
        known = key.period[0].strftime("%Y-%m") == month and key.unit_price.is_finite()
    except (ValueError, InvalidOperation, OverflowError):
        return None
    return key if known and "\x00" not in text else None
