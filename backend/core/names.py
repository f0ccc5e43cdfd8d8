"""Finding resources by name, quick in a tenant with a million of them.

Row-level security keeps an index on parts of text from being used: what compares parts is not leakproof, so PostgreSQL
would look at all of a tenant's names. Comparing whole text is leakproof. So a search is two bounded questions: names
that begin with what was typed, as ranges of the index that keeps names unique; and, of the newest `RECENT` resources,
those with it anywhere in their name.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.orm import InstrumentedAttribute, Session

RECENT = 1000
LONGEST_WORDS = 100
_LAST = "\U0010ffff"


def find_named(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    name: InstrumentedAttribute[str],
    newest: Sequence[ColumnElement[Any]],
    words: str,
    limit: int,
) -> list[Row[*tuple[Any, ...]]]:
    """Up to `limit` rows: first those whose name begins with `words`, by name, then others that hold it, newest first.

    `statement` selects columns, one of them `id`, another `name`, of one organization's rows; `newest`: the order of
    an index that has them newest first. Upper and lower case are one, but for names in mixed case that are old.
    """
    if not words or len(words) > LONGEST_WORDS or not words.isprintable():
        return []
    found: dict[Any, Row[*tuple[Any, ...]]] = {}
    for start in dict.fromkeys((words, words.lower(), words.upper(), words.capitalize())):
        rows = session.execute(statement.where(name >= start, name < start + _LAST).order_by(name).limit(limit))
        found |= {row.id: row for row in rows}
    if len(found) < limit:
        recent = statement.order_by(*newest).limit(RECENT).subquery()
        rows = session.execute(recent.select().where(recent.c.name.icontains(words, autoescape=True)).limit(limit))
        found |= {row.id: row for row in rows if row.id not in found}
    return list(found.values())[:limit]
