"""The console's prices: every version, and a change in two steps, the second of which says what it touches."""

import json
import shlex
from datetime import UTC
from http import HTTPStatus

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from backend.admin import service as admin
from backend.billing import pricing
from backend.core.auth import Principal
from backend.core.errors import DomainError
from frontend import flash, forms, security
from frontend.backstage import Backstage
from frontend.forms import Form, Typed
from frontend.pages.admin import Operating, console_frame
from frontend.pages.common import Back, FromOurPage, Pages, Services
from frontend.render import Renderer
from frontend.views import Platform
from frontend.views.prices import PriceForm, read_price_room

router = APIRouter(prefix="/admin/prices")
API_EXAMPLE = """curl -X POST {base}/api/v1/admin/prices -b "modelyard_session=$SESSION" -H "X-Requested-With: curl" \\
     -H "Content-Type: application/json" -d {body}"""


@router.get("")
def list_prices(request: Request, viewer: Operating, pages: Pages, platform: Services, back: Back) -> Response:
    """Every version of every price, and the form for another."""
    return _room(request, viewer, pages, platform, back, Form())


@router.post("/check", dependencies=[FromOurPage])
def check(
    request: Request, *, viewer: Operating, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """What a change would replace and touch; the next click makes it."""
    form = forms.parse(PriceForm, typed)
    if form.request is not None:
        try:
            with back.across() as session:
                found = admin.preview_price(session, form.request)
        except DomainError as error:
            form.refuse(error)
        else:
            context = {"found": found, "form": form, **_elsewhere(request, form.request)}
            return pages.respond(request, "admin/price.html", console_frame(platform, viewer, **context))
    return _room(request, viewer, pages, platform, back, form)


@router.post("", dependencies=[FromOurPage])
def change(
    request: Request, *, viewer: Operating, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Make it so."""
    form = forms.parse(PriceForm, typed)
    if form.request is None:
        return _room(request, viewer, pages, platform, back, form)
    wanted = form.request
    try:
        with back.across() as session:
            admin.check_sku(session, wanted.sku)
        with back.tenant(viewer) as session:
            made = pricing.change_price(
                session,
                viewer,
                request.cookies[security.SESSION_COOKIE],
                sku=wanted.sku,
                amount=wanted.amount,
                from_at=wanted.effective_from,
                description=wanted.description,
            )
    except DomainError as error:
        form.refuse(error)
        return _room(request, viewer, pages, platform, back, form)
    said = pages.say(request, "%(sku)s has its new price.", sku=made.sku)
    return flash.go_on(request, "/admin/prices", said)


def _room(
    request: Request, viewer: Principal, pages: Renderer, platform: Platform, back: Backstage, form: Form[PriceForm]
) -> Response:
    with back.across() as session:
        found = read_price_room(session)
    context = console_frame(platform, viewer, found=found, form=form)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "admin/prices.html", context, status_code=status)


def _elsewhere(request: Request, wanted: PriceForm) -> dict[str, str]:
    """The same over the API, and on the machine."""
    said = wanted.model_dump(mode="json", exclude_none=True) | {"amount": f"{wanted.amount:f}"}
    body = shlex.quote(json.dumps(said))
    told = ["modelyard admin set-price", wanted.sku, f"{wanted.amount:f}"]
    if wanted.effective_from is not None:
        told.append(f"--from {wanted.effective_from.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    if wanted.description is not None:
        told.append(f"--description {shlex.quote(wanted.description)}")
    base = str(request.base_url).rstrip("/")
    return {"api_example": API_EXAMPLE.format(base=base, body=body), "cli_example": " ".join(told)}
