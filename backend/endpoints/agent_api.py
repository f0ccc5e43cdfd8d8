"""Where agents deliver usage segments. An assignment that has ended may still deliver its own."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from backend.core.db import Database
from backend.core.problems import may_raise, raises
from backend.endpoints.errors import SegmentChanged, SegmentMalformed, SegmentTooLarge
from backend.endpoints.segments import accept_segment
from backend.fleet.agent_auth import AgentCaller
from backend.fleet.errors import AssignmentNotFound, StaleEpoch
from backend.fleet.sync import assignment_of

router = APIRouter(prefix="/agent/v1", include_in_schema=False)

MAX_SEGMENT_BYTES: Final = 2 * 1024 * 1024


@may_raise(SegmentTooLarge)
async def segment_body(request: Request) -> bytes:
    """The whole body, bounded. Raises SegmentTooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_SEGMENT_BYTES:
            raise SegmentTooLarge(f"a usage segment may have {MAX_SEGMENT_BYTES} bytes")
    return bytes(body)


@router.post(
    "/assignments/{assignment_id}/usage-segments/{segment_id}",
    responses=raises(AssignmentNotFound, StaleEpoch, SegmentMalformed, SegmentChanged),
)
def deliver_segment(
    request: Request,
    agent: AgentCaller,
    assignment_id: UUID,
    segment_id: UUID,
    epoch: Annotated[int, Query(ge=1)],
    body: Annotated[bytes, Depends(segment_body)],
) -> Response:
    """Count a segment; one that is known changes nothing. 422 malformed, 409 stale epoch, 404 not this instance's."""
    database: Database = request.app.state.database
    with database.unit_of_work(agent.scope) as session:
        assignment = assignment_of(session, agent.scope, agent.instance_id, assignment_id, epoch, ended_too=True)
        accepted = accept_segment(session, agent.scope, assignment, segment_id, body)
    return Response(msgspec.json.encode({"accepted": accepted}), media_type="application/json")
