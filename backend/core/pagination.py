"""Cursor pagination: keyset, so the ten-thousandth page costs what the first does.

A cursor is the sort key of the last row seen, as base64url of a JSON list. It is opaque to callers, holds nothing
secret, and one that was made up answers 422. Sort keys are NOT NULL columns that end in a unique one.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Select, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from backend.core.errors import Invalid
from backend.core.problems import may_raise

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_SMALLEST_BIGINT, _LARGEST_BIGINT = -(2**63), 2**63 - 1

T = TypeVar("T")
Row = TypeVar("Row")
Sorts = Mapping[str, Sequence[InstrumentedAttribute[Any]]]
"""Sort columns by the name of the order; each with an index behind it, or of a table that stays small."""


class InvalidCursor(Invalid):
    """The cursor is none that a list handed out."""

    code = "invalid_cursor"
    title = "Not a cursor of this list"
    remedy = "start again without a cursor"


class Page(BaseModel, Generic[T]):
    """One page of a list. `next_cursor` None = this was the last one."""

    items: list[T]
    next_cursor: str | None = None


@dataclass(frozen=True)
class PageRequest:
    """How many rows, after which, and in which order: a name that the list knows, descending after `-`."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    sort: str | None = None


@may_raise(InvalidCursor)
async def page_request(  # async: what never blocks needs no thread
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="rows per page")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before")] = None,
) -> PageRequest:
    """The dependency behind `PageParameters`."""
    return PageRequest(limit=limit, cursor=cursor)


PageParameters = Annotated[PageRequest, Depends(page_request)]


def fetch_page(
    session: Session,
    statement: Select[Row],
    page: PageRequest,
    *,
    keys: Sequence[InstrumentedAttribute[Any]],
    descending: bool = True,
    sorts: Sorts = MappingProxyType({}),
) -> tuple[list[Row], str | None]:
    """Rows of one page of `statement` (which selects one entity), and the cursor of the next page.

    `keys`: sort columns of that entity, most significant first, NOT NULL, the last one unique; `sorts`: such columns
    by the names that `page.sort` may have instead. A sort that the list does not know changes nothing.
    Raises InvalidCursor (422).
    """
    wanted = (page.sort or "").removeprefix("-")
    if wanted in sorts:
        keys, descending = sorts[wanted], (page.sort or "").startswith("-")
    rows = list(session.scalars(_from_place(statement, page, keys, descending=descending).limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    rows = rows[: page.limit]
    return rows, encode_cursor([getattr(rows[-1], key.key) for key in keys])


def fetch_sifted(
    session: Session,
    statement: Select[Row],
    holds: Callable[[Any], ColumnElement[bool]],
    page: PageRequest,
    *,
    keys: Sequence[InstrumentedAttribute[Any]],
    descending: bool = True,
    among: int,
) -> tuple[list[Row], str | None]:
    """As `fetch_page`, of rows for which a condition `holds` that no index answers, looking at `among` rows at most.

    `holds` gets the entity. A page may hold fewer rows than its limit, or none, and have a cursor: where it goes on.
    Raises InvalidCursor (422).
    """
    looked_at = _from_place(statement, page, keys, descending=descending)
    entity = keys[0].class_
    found: Any = aliased(entity, looked_at.limit(among).subquery())
    order = [_ordered(getattr(found, key.key), descending=descending) for key in keys]
    rows = list(session.scalars(select(found).where(holds(found)).order_by(*order).limit(page.limit + 1)))
    if len(rows) > page.limit:
        rows = rows[: page.limit]
        return rows, encode_cursor([getattr(rows[-1], key.key) for key in keys])
    last = session.execute(looked_at.with_only_columns(*keys).offset(among - 1).limit(1)).one_or_none()
    return rows, None if last is None else encode_cursor(list(last))


def _from_place(
    statement: Select[Row], page: PageRequest, keys: Sequence[InstrumentedAttribute[Any]], *, descending: bool
) -> Select[Row]:
    """The statement in the order of its keys, behind the cursor."""
    if page.cursor is not None:
        after = tuple_(*(literal(value, key.type) for value, key in zip(_decode(page.cursor, keys), keys, strict=True)))
        place = tuple_(*keys)
        statement = statement.where(place < after if descending else place > after)
    return statement.order_by(*(_ordered(key, descending=descending) for key in keys))


def _ordered(key: ColumnElement[Any] | InstrumentedAttribute[Any], *, descending: bool) -> ColumnElement[Any]:
    return key.desc() if descending else key.asc()


def encode_cursor(values: Sequence[Any]) -> str:
    """The cursor of a row with these sort keys."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    plain = [str(value) if isinstance(value, UUID) else value for value in plain]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[Any]:
    try:
        plain = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        return [_typed(value, key.type.python_type) for value, key in zip(plain, keys, strict=True)]
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise InvalidCursor("this cursor was not handed out by this list", hint="start again without one") from error


def _typed(value: object, kind: type) -> object:
    if kind is int and type(value) is int and _SMALLEST_BIGINT <= value <= _LARGEST_BIGINT:
        return value
    if not isinstance(value, str) or "\x00" in value:
        raise TypeError("not a sort key of this list")
    if kind is UUID:
        return UUID(value)
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without its zone")
        return moment
    if kind is str:
        value.encode()
        return value
    raise TypeError("not a sort key of this list")
