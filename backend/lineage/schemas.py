"""What the API gives about lineage."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal[
    "dataset_version", "job", "attempt", "checkpoint", "model_version", "endpoint", "variant", "invoice_line"
]
Direction = Literal["both", "up", "down"]


class LineageNode(BaseModel):
    """One thing. `level`: steps from the one that was asked about, negative towards what it was made of."""

    model_config = ConfigDict(from_attributes=True)

    kind: Kind
    id: str
    name: str
    detail: str
    created_at: datetime | None
    level: int
    more: bool
    """There are more steps from here than the answer shows."""
    href: str | None
    """Its address in this API."""


class LineageEdge(BaseModel):
    """`target` was made of, or with, `source`; both are `kind:id` of a node."""

    model_config = ConfigDict(from_attributes=True)

    source: str
    target: str


class LineageRead(BaseModel):
    """Ancestors and descendants of one thing. `truncated`: there is more than the answer holds."""

    model_config = ConfigDict(from_attributes=True)

    root: LineageNode
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    truncated: bool
