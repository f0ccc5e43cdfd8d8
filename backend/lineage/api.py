"""The REST route of lineage."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from backend.core.http import Reader, Transaction
from backend.core.problems import raises
from backend.lineage import service
from backend.lineage.errors import LineageNotFound
from backend.lineage.schemas import Direction, Kind, LineageRead

router = APIRouter(prefix="/api/v1", tags=["lineage"])
LineageId = Annotated[str, Path(max_length=500, description="a UUID; of an invoice line, its readable id")]


@router.get("/lineage/{kind}/{id}", responses=raises(LineageNotFound))
def read_lineage(
    kind: Kind,
    id: LineageId,  # noqa: A002 - the name in the address
    principal: Reader,
    session: Transaction,
    *,
    direction: Annotated[Direction, Query(description="up: what it was made of; down: what was made of it")] = "both",
    limit: Annotated[int, Query(ge=1, le=service.MOST_NODES, description="nodes at most")] = service.DEFAULT_NODES,
) -> LineageRead:
    """What something was made of, and what was made of it: from dataset version to invoice line and back.

    Of one thing's steps of a kind the newest 50 are shown (of an attempt's checkpoints 3); `more` on a node and
    `truncated` say where something was left out.
    """
    found = service.read_lineage(session, principal.scope, kind, id, direction=direction, limit=limit)
    return LineageRead.model_validate(found, from_attributes=True)
