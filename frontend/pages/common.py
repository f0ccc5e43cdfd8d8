"""What every page's handler needs: the renderer, the platform, the viewer, and a POST's CSRF check.

`Desk` has all of it in one, with the answers that pages share: a page, a form (again), a page of a list, what became
of several rows.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Form, Header
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.errors import DomainError
from frontend import flash, forms, security
from frontend.backstage import Backstage
from frontend.lists import Listing
from frontend.render import Renderer
from frontend.services import parse_id
from frontend.views import Outcome, Platform

T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")
STOP_POLLING = 286
"""htmx stops polling on this status (htmx.org, "Polling")."""
MOST_CHOSEN = 200
"""Rows that one bulk act takes: more than a page of a list shows."""


class NotLoggedInError(Exception):
    """The page needs a session and the request has none that is valid."""


def get_renderer(request: Request) -> Renderer:
    """The dashboard's renderer."""
    renderer: Renderer = request.app.state.renderer
    return renderer


def get_platform(request: Request) -> Platform:
    """Where view models come from."""
    platform: Platform = request.app.state.platform
    return platform


def get_backstage(request: Request) -> Backstage:
    """The domains' services, for rooms that ask them themselves."""
    backstage: Backstage = request.app.state.backstage
    return backstage


Pages = Annotated[Renderer, Depends(get_renderer)]
Services = Annotated[Platform, Depends(get_platform)]
Back = Annotated[Backstage, Depends(get_backstage)]


def get_viewer(request: Request, platform: Services) -> Principal:
    """Whoever is logged in; raises NotLoggedInError where nobody is."""
    token = request.cookies.get(security.SESSION_COOKIE)
    viewer = platform.identify(token) if token else None
    if viewer is None:
        raise NotLoggedInError
    return viewer


def require_csrf(
    request: Request,
    pages: Pages,
    csrf_token: Annotated[str | None, Form()] = None,
    x_csrf_token: Annotated[str | None, Header()] = None,
) -> None:
    """Refuse a POST that does not come from our own page (403). Every POST route depends on this."""
    if not security.csrf_holds(request, pages.secret, x_csrf_token or csrf_token):
        raise HTTPException(403, "This page was open for too long. Reload it and try again.")


LoggedIn = Annotated[Principal, Depends(get_viewer)]
FromOurPage = Depends(require_csrf)


def framed(platform: Platform, viewer: Principal, **context: Any) -> dict[str, Any]:  # noqa: ANN401 - template context
    """The context of a page inside the shell."""
    return {"viewer": viewer, "shell": platform.shell(viewer), **context}


@dataclass(frozen=True)
class Desk:
    """A request of somebody who is logged in, and the ways to answer it."""

    request: Request
    viewer: Principal
    pages: Renderer
    platform: Platform
    back: Backstage

    @property
    def scope(self) -> Scope:
        """The viewer's organization."""
        return self.viewer.scope

    @property
    def base(self) -> str:
        """Where this platform is, as examples of requests write it."""
        return str(self.request.base_url).rstrip("/")

    @property
    def partial(self) -> bool:
        """Whether htmx asks, for a part of a page."""
        return "HX-Request" in self.request.headers

    def session(self) -> AbstractContextManager[Session]:
        """One transaction in the viewer's organization."""
        return self.back.tenant(self.viewer)

    def say(self, message: str, /, **values: str | int) -> str:
        """A sentence in the viewer's language."""
        return self.pages.say(self.request, message, **values)

    def show(self, template: str, *, status_code: int = HTTPStatus.OK, **context: Any) -> Response:  # noqa: ANN401 - template context
        """A page in the shell."""
        every = framed(self.platform, self.viewer, **context)
        return self.pages.respond(self.request, template, every, status_code=status_code)

    def go_on(self, path: str, said: str = "") -> Response:
        """To the next page, where `said` is told."""
        return flash.go_on(self.request, path, said)

    # --- forms ---

    def take(self, form: forms.Form[T], act: Callable[[Session, T], R]) -> R | None:
        """What `act` makes of the form's request in one transaction; None where the form or the platform refuses it."""
        if form.request is None:
            return None
        try:
            with self.session() as session:
                return act(session, form.request)
        except DomainError as error:
            form.refuse(error)
        return None

    def show_form(self, template: str, form: forms.Form[Any], **context: Any) -> Response:  # noqa: ANN401 - template context
        """A form; with what is wrong beside its fields (422), and all that was typed."""
        code = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
        return self.show(template, status_code=code, form=form, **context)

    # --- lists ---

    def show_list(
        self,
        template: str,
        block: str | None,
        listing: Listing,
        following: str | None,
        *,
        live: bool = False,
        status_code: int = HTTPStatus.OK,
        **context: Any,  # noqa: ANN401 - template context
    ) -> Response:
        """A page of a list; for htmx the part that changes, which has the id `block` (None: there is none).

        One that is not `live` stops polling.
        """
        context |= {
            "listing": listing,
            "live": live,
            "first": listing.address(cursor="") if listing.cursor else "",
            "older": listing.address(cursor=following) if following else "",
            "viewer": self.viewer,
        }
        if not self.partial or block is None:
            every = framed(self.platform, **context)
            return self.pages.respond(self.request, template, every, status_code=status_code)
        polled = self.request.headers.get("HX-Trigger") == block
        code = STOP_POLLING if polled and not live else HTTPStatus.OK
        response = self.pages.respond(self.request, template, context, block=block, status_code=code)
        if not polled:
            response.headers["HX-Push-Url"] = listing.address()
        return response

    # --- acts on several rows ---

    def each(
        self,
        chosen: Sequence[str],
        *,
        name: Callable[[Session, UUID], str],
        act: Callable[[UUID], object],
        done: str,
    ) -> list[Outcome]:
        """Do `act` to each of these rows, whatever becomes of the others; `done` is what is said where it went well.

        A row that is nobody's, or another organization's, is found out by `name` before anything is done: it raises.
        """
        ids = [parse_id(one) for one in dict.fromkeys(chosen)]
        with self.session() as session:
            names = [name(session, one) for one in ids]
        return [self._outcome(shown, one, act, done) for shown, one in zip(names, ids, strict=True)]

    def _outcome(self, name: str, row_id: UUID, act: Callable[[UUID], object], done: str) -> Outcome:
        try:
            act(row_id)
        except DomainError as error:
            return Outcome(name=name, done=False, said=f"{error.detail[:1].upper()}{error.detail[1:]}.")
        return Outcome(name=name, done=True, said=done)

    def show_outcomes(self, outcomes: Sequence[Outcome], listing: str) -> Response:
        """What became of each row; for htmx above its list, which is read again."""
        context: dict[str, Any] = {"outcomes": outcomes, "listing_path": listing}
        if not self.partial:
            return self.show("components/outcomes.html", **context)
        response = self.pages.respond(self.request, "components/outcomes.html", context, block="outcomes")
        response.headers["HX-Trigger"] = "rows-changed"
        return response

    def counted(self, chosen: Sequence[str], typed: str) -> None:
        """What cannot be undone is confirmed by typing how many rows it is. Raises HTTPException (422)."""
        if typed.strip() != str(len(set(chosen))):
            raise HTTPException(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Nothing was done: type how many rows it is to confirm."
            )


def get_desk(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Desk:
    """The dependency behind `AtDesk`."""
    return Desk(request, viewer, pages, platform, back)


AtDesk = Annotated[Desk, Depends(get_desk)]
Chosen = Annotated[list[str], Form(default_factory=list, max_length=MOST_CHOSEN)]
"""Ids of the rows that a bulk act is about."""
TypedCount = Annotated[str, Form(max_length=200)]
"""What was typed to confirm it, see `Desk.counted`."""
