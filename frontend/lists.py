"""Lists: what stands in a list's address (filters, order, place), the same way on every page.

A handler takes `Annotated[Listing, Depends(Lists("text", "project", sorts=("name", "created_at")))]`, asks its domain
for `listing.page(50)` with `listing["text"]`, and answers with `Desk.show_list`. Templates draw columns, pages and
bulk acts with the macros of `components/list.html`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode
from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.requests import Request

from backend.core.pagination import PageRequest
from frontend.services import parse_id

LONGEST_FILTER = 200
LONGEST_CURSOR = 2000


@dataclass(frozen=True)
class Listing:
    """One page of a list, as its address says. `filters`: every filter that the list has, "" = any."""

    path: str
    filters: dict[str, str]
    sort: str
    cursor: str
    usual: str = ""
    """The order where the address names none; it is left out of addresses."""

    def __getitem__(self, name: str) -> str:
        """A filter; "" where it leaves nothing out."""
        return self.filters[name]

    def id(self, name: str) -> UUID | None:
        """A filter that is somebody's id. Raises RouteNotFound where it is none."""
        return parse_id(self.filters[name]) if self.filters[name] else None

    @property
    def filtered(self) -> bool:
        """Whether the address leaves some rows out."""
        return bool(self.cursor or any(self.filters.values()))

    def page(self, limit: int) -> PageRequest:
        """What the domain is asked for."""
        return PageRequest(limit=limit, cursor=self.cursor or None, sort=self.sort or None)

    def address(self, *, path: str = "", **changes: str | None) -> str:
        """The list with some of it changed; whoever changes a filter or the order begins at the first page."""
        every = {**self.filters, "sort": self.sort, "cursor": "" if changes else self.cursor, **changes}
        if every["sort"] == self.usual:
            del every["sort"]
        given = {name: value for name, value in every.items() if value}
        return (path or self.path) + (f"?{urlencode(given)}" if given else "")

    def turned(self, key: str) -> str:
        """The list ordered by a column; where it is already, the other way round."""
        return self.address(sort=f"-{key}" if self.sort == key else key)

    def reads(self, seconds: int = 0) -> dict[str, str]:
        """Attributes of the part that shows the list: it is read again after acts on rows, and every so often."""
        every = f"every {seconds}s, " if seconds else ""
        trigger = f"{every}rows-changed from:body"
        return {"hx-get": self.address(), "hx-trigger": trigger, "hx-target": "this", "hx-swap": "morph"}


class Lists:
    """A dependency: reads the `Listing` of a list with these filters and orders. A value too long answers 422."""

    def __init__(self, *filters: str, sorts: Sequence[str] = (), usual: str = "") -> None:
        self.filters, self.sorts, self.usual = filters, tuple(sorts), usual

    def __call__(self, request: Request) -> Listing:
        """What the address says; an order that the list does not have is its usual one."""
        given = {name: request.query_params.get(name, "").strip() for name in self.filters}
        sort, cursor = request.query_params.get("sort", ""), request.query_params.get("cursor", "")
        if any(len(value) > LONGEST_FILTER for value in given.values()) or len(cursor) > LONGEST_CURSOR:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "This address or form has a wrong value.")
        if sort.removeprefix("-") not in self.sorts:
            sort = self.usual
        return Listing(path=request.url.path, filters=given, sort=sort, cursor=cursor, usual=self.usual)
