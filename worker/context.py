"""What every control task is given: the database as controller, settings, storage, and the bell."""

from dataclasses import dataclass

from backend.core.bell import Bell
from backend.core.db import Database, Ring, make_engine
from backend.core.settings import Settings, require
from backend.core.storage import ObjectStore


@dataclass(frozen=True, eq=False)
class ControlContext:
    """Everything a control task may touch. Built once per process, after any fork."""

    database: Database
    settings: Settings
    storage: ObjectStore
    ring: Ring | None


def build_context(settings: Settings) -> ControlContext:
    """Connect as *controller*. Raises RuntimeError when its URL is not set."""
    ring = Bell(require(settings.broker.url, "MODELYARD_BROKER__URL")) if settings.broker.url else None
    url = require(settings.database.controller_url, "MODELYARD_DATABASE__CONTROLLER_URL")
    return ControlContext(
        database=Database(make_engine(url, pool_size=settings.database.pool_size, name="control"), ring),
        settings=settings,
        storage=ObjectStore(settings.object_url),
        ring=ring,
    )
