"""What the admin console reads of gateways and endpoints. Role *operator*, which only reads; unscoped on purpose."""

from collections.abc import Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from backend.endpoints import states
from backend.endpoints.models import Endpoint, Gateway, RouteTable


def gateways(session: Session) -> Sequence[Row[str, int | None, float | None]]:
    """(name, version of the routing table it applies, seconds since it was seen) of each gateway."""
    age = func.extract("epoch", func.clock_timestamp() - Gateway.seen_at)
    return session.execute(select(Gateway.name, Gateway.known_version, age).order_by(Gateway.name)).all()


def route_version(session: Session) -> int | None:
    """The version of the routing table; None = none was built."""
    return session.scalar(select(RouteTable.version).where(RouteTable.id == 1))


def count_by_status(session: Session) -> dict[str, int]:
    """How many endpoints there are, by status; deleted ones are left out."""
    rows = session.execute(
        select(Endpoint.status, func.count()).where(Endpoint.status != states.DELETED).group_by(Endpoint.status)
    )
    return {row[0]: row[1] for row in rows}
