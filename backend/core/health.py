"""Health and metrics routes. `live`: the process answers. `ready`: the database does, with a schema we know."""

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from backend.core.http import problem
from backend.core.metrics import Metrics
from backend.core.schema import SchemaUnknown, check_schema

log = structlog.get_logger(__name__)

router = APIRouter(tags=["health"])


@router.get("/health/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=None)
def ready(request: Request) -> dict[str, str] | Response:
    """The database answers and has this build's schema; else 503."""
    try:
        revision = check_schema(request.app.state.database.engine)
    except SchemaUnknown as error:
        return problem(503, "schema_unknown", "Not ready", str(error))
    except SQLAlchemyError as error:
        log.warning("not_ready", error=str(error)[:500])
        return problem(503, "unavailable", "Not ready", "the database does not answer")
    return {"status": "ok", "schema": revision}


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Prometheus's text format."""
    collected: Metrics = request.app.state.metrics
    return collected.response()
