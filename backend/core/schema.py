"""Which schema this build knows, and whether a database has it. Without Alembic: every process asks, one migrates."""

import re
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"
_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_DOWN = re.compile(r'^down_revision = "(\w+)"$', re.MULTILINE)


class SchemaUnknown(RuntimeError):
    """The database's schema is not the one this build knows."""


def _revisions() -> tuple[frozenset[str], frozenset[str]]:
    """All revisions of this build, and those that another follows."""
    sources = [path.read_text(encoding="utf-8") for path in VERSIONS.glob("[0-9]*.py")]
    every = frozenset(found for source in sources for found in _REVISION.findall(source))
    return every, frozenset(found for source in sources for found in _DOWN.findall(source))


def knows_schema(revision: str) -> bool:
    """Whether this build can run on, or upgrade, a database at this revision."""
    return revision in _revisions()[0]


@lru_cache(maxsize=1)
def newest_revision() -> str:
    """The one revision of this build that no other follows. RuntimeError when there is not exactly one."""
    every, followed = _revisions()
    heads = set(every - followed)
    if len(heads) != 1:
        raise RuntimeError(f"the migrations have {len(heads)} heads ({', '.join(sorted(heads))}), there must be one")
    head: str = heads.pop()
    return head


def check_schema(engine: Engine) -> str:
    """The schema's revision. Raises SchemaUnknown unless it is exactly this build's newest."""
    current, newest = current_revision(engine), newest_revision()
    if current != newest:
        raise SchemaUnknown(
            f"the database is at schema {current or 'none'}, this build needs {newest}; run `modelyard migrate`"
        )
    return newest


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None = it was never migrated."""
    with engine.connect() as connection:
        try:
            revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        except ProgrammingError:
            return None  # there is no such table, or nothing in it is for us
        return revision
