"""The database: typed base, tenant scope, and the unit of work.

One request or one task is one transaction. Its edge opens `unit_of_work`, which sets the tenant for row-level
security (`SET LOCAL`), commits, and only then hands the collected doorbells to the bell, which rings them
off the request's path and never raises.

Roles (★9): the API connects as *app* (NOBYPASSRLS, sees the tenant of the scope and nothing without
one). Control tasks connect as *controller*, which may claim and sweep across tenants, and call `act_as` to
become *app* for one row's tenant until the transaction ends.
"""

import select as select_module
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    MetaData,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import QueuePool

from backend.core.ids import new_id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

MONEY = Numeric(38, 12)

APP_ROLE = "modelyard_app"
TENANT_SETTING = "app.organization_id"


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: TIMESTAMP(timezone=True),
        Decimal: MONEY,
        UUID: Uuid(),
        str: Text(),
        int: BigInteger(),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
        dict[str, str]: JSONB(),
        list[str]: JSONB(),
    }


class Identified:
    """A UUIDv7 primary key."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id, sort_order=-20)


class TenantOwned:
    """A row that belongs to one organization. Row-level security compares `organization_id`."""

    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), sort_order=-19)


class Tagged:
    """Tags: short strings by short strings."""

    tags: Mapped[dict[str, str]] = mapped_column(JSONB(), default=dict, server_default=text("'{}'::jsonb"))


class Timestamped:
    """When the row was written, by Postgres's clock."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class Leased:
    """A row that is its own queue entry (★2). `due_at` None = nothing to do."""

    due_at: Mapped[datetime | None] = mapped_column(default=None)
    lease_token: Mapped[UUID | None] = mapped_column(default=None)
    lease_expires_at: Mapped[datetime | None] = mapped_column(default=None)


def tenant_key() -> UniqueConstraint:
    """Lets foreign keys carry the organization: `(organization_id, id)` is unique."""
    return UniqueConstraint("organization_id", "id")


def tenant_reference(column: str, table: str) -> ForeignKeyConstraint:
    """A foreign key `(organization_id, column) → table(organization_id, id)`: never across tenants."""
    return ForeignKeyConstraint(["organization_id", column], [f"{table}.organization_id", f"{table}.id"])


@dataclass(frozen=True)
class Scope:
    """Whose rows a repository may see."""

    organization_id: UUID


@dataclass(frozen=True)
class Doorbell:
    """A hint that a row may be due: a task name and the queue it goes to. Never state (★1)."""

    task: str
    queue: str = "control"


Ring = Callable[[Sequence[Doorbell]], None]


def make_engine(url: str, *, pool_size: int = 10, name: str = "modelyard") -> Engine:
    """An engine with a bounded pool; statements time out after 30 s, idle transactions after 60 s.

    A connection is looked at when it leaves the pool, without asking the server: see `_refuse_one_that_was_closed`.
    """
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_recycle=1800,
        connect_args={
            "application_name": name,
            "connect_timeout": 5,
            "options": "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000 -c timezone=UTC",
        },
    )
    event.listen(engine, "checkout", _refuse_one_that_was_closed)
    return engine


def _refuse_one_that_was_closed(connection: DBAPIConnection, *_: object) -> None:
    """Make the pool connect anew where the server has hung up. A pre-ping would cost each request a round trip.

    On an idle connection nothing arrives but the server's last words and the end of the stream: readable means gone.
    """
    poll = select_module.poll()
    poll.register(connection.fileno(), select_module.POLLIN)
    if connection.closed or poll.poll(0):
        raise DisconnectionError("the server closed this connection")


class Database:
    """An engine and the bell that its transactions ring."""

    def __init__(self, engine: Engine, ring: Ring | None = None) -> None:
        self.engine = engine
        self._ring = ring

    @property
    def pool_size(self) -> int:
        """Connections that are kept; in need there are twice as many."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 - what `make_engine` makes
        return pool.size()

    @contextmanager
    def unit_of_work(self, scope: Scope | None = None) -> Iterator[Session]:
        """One transaction. Commits on leaving, rolls back on an exception; then rings the doorbells."""
        with Session(self.engine, expire_on_commit=False) as session:
            with session.begin():
                if scope is not None:
                    set_tenant(session, scope.organization_id)
                yield session
            bells = tuple(dict.fromkeys(session.info.get("doorbells", ())))
        if bells and self._ring is not None:
            self._ring(bells)

    def dispose(self, *, close: bool = True) -> None:
        """Drop the pool; after a fork call it with `close=False`."""
        self.engine.dispose(close=close)


def set_tenant(session: Session, organization_id: UUID) -> None:
    """Make row-level security see this organization until the transaction ends."""
    session.execute(select(func.set_config(TENANT_SETTING, str(organization_id), True)))  # noqa: FBT003 - SQL's own argument


def act_as(session: Session, organization_id: UUID) -> None:
    """Controller only: become the app role for one tenant until the transaction ends."""
    session.execute(text(f"SET LOCAL ROLE {APP_ROLE}"))
    set_tenant(session, organization_id)


def ring_after_commit(session: Session, *doorbells: Doorbell) -> None:
    """Collect doorbells; the unit of work rings them once it has committed."""
    session.info.setdefault("doorbells", []).extend(doorbells)
