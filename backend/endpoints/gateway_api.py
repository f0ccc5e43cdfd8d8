"""The gateways' API under `/gateway/v1`: the routing table, for a gateway's bearer token only."""

import hashlib
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from backend.core.db import Database
from backend.core.problems import raises
from backend.endpoints.errors import GatewayTokenUnknown
from backend.endpoints.routing import read_routes

router = APIRouter(prefix="/gateway/v1", include_in_schema=False)


@router.get("/routes", responses=raises(GatewayTokenUnknown))
def get_routes(
    request: Request, version: Annotated[int, Query(ge=-1, le=2**62, description="the version it has applied")] = -1
) -> Response:
    """200 with a RouteSnapshot, 204 when the gateway has the current one. 401 without a gateway's token.

    Postgres remembers what the gateway says it has applied: endpoints wait for it before they are in service.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise GatewayTokenUnknown("a gateway token is required")
    database: Database = request.app.state.database
    with database.unit_of_work() as session:
        snapshot = read_routes(session, hashlib.sha256(token.strip().encode()).digest(), version)
    if snapshot is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(snapshot), media_type="application/json")
