"""Health and metrics routes. `live`: the process answers. `ready`: the database does, with a schema we know."""

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from backend.core.errors import Unavailable
from backend.core.http import problem_of
from backend.core.metrics import Metrics
from backend.core.problems import raises
from backend.core.schema import SchemaUnknown, check_schema

log = structlog.get_logger(__name__)

router = APIRouter(tags=["health"])


class SchemaNotReady(Unavailable):
    """The database has another schema than this build's."""

    code = "schema_unknown"
    title = "Not ready"
    remedy = "run `modelyard migrate`"


@router.get("/health/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=None, responses=raises(SchemaNotReady, Unavailable))
def ready(request: Request) -> dict[str, str] | Response:
    """The database answers and has this build's schema; else 503."""
    try:
        revision = check_schema(request.app.state.database.engine)
    except SchemaUnknown as error:
        return problem_of(SchemaNotReady(str(error)))
    except SQLAlchemyError as error:
        log.warning("not_ready", error=str(error)[:500])
        return problem_of(Unavailable("the database does not answer", retry_after_seconds=2))
    return {"status": "ok", "schema": revision}


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    """Prometheus's text format."""
    collected: Metrics = request.app.state.metrics
    return collected.response()
