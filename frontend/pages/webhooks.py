"""Webhooks: who is told of events, and the log of what was sent."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.core.auth import Principal
from backend.core.errors import DomainError
from backend.core.pagination import PageRequest
from backend.events import service as events
from backend.events.repository import DeliveryFilter
from backend.events.schemas import SubscriptionCreate, SubscriptionUpdate
from frontend import flash
from frontend.forms import Form, Typed, parse
from frontend.lists import Listing, Lists
from frontend.pages.common import STOP_POLLING, AtDesk, Back, Chosen, FromOurPage, LoggedIn, Pages, Services, framed
from frontend.services import parse_id
from frontend.views import webhooks as views

router = APIRouter(prefix="/settings/webhooks")

HOME = "/settings/webhooks"
PAGE_SIZE = 50
API_EXAMPLE = """curl {base}/api/v1/event-subscriptions \\
  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\
  -d '{{"target": "https://example.com/hooks/modelyard", "event_types": ["job.completed", "job.failed"]}}'"""
SENTENCES = (
    "Choose at least one event.",
    "The subscription was deleted.",
    "The subscription was changed.",
    "A test is on its way.",
    "It will be sent again.",
    "Nothing is sent to it any more.",
    "It is told of events again.",
)
"""For `pages.say`; `webhooks/parts.html` lists them."""
NO_EVENT, DELETED, CHANGED, TESTED, REPLAYED, DISABLED, ENABLED = SENTENCES
LOG = Lists("state", "event_type", "subscription", sorts=("created_at",), usual="-created_at")


@router.get("")
def list_webhooks(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Response:
    """Who is told of events."""
    viewer.require("read")
    with back.tenant(viewer) as session:
        found = views.list_subscriptions(session, viewer)
    example = API_EXAMPLE.format(base=str(request.base_url).rstrip("/"))
    context = framed(platform, viewer, subscriptions=found, api_example=example)
    return pages.respond(request, "webhooks/list.html", context)


@router.get("/new")
def new_webhook(request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back) -> Response:
    """The form for a new one."""
    viewer.require("manage")
    usual = {each.field: each.pattern for each in views.choices() if each.pattern in {"job.completed", "job.failed"}}
    return _form(request, viewer, pages, platform, back, Form(values=usual))


@router.post("", dependencies=[FromOurPage])
def create_webhook(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, typed: Typed
) -> Response:
    """Create it; a webhook's secret is shown on the page that answers, and nowhere else."""
    viewer.require("manage")
    form = parse(SubscriptionCreate, typed)
    _name_events(form)
    if form.request is not None:
        try:
            with back.tenant(viewer) as session:
                vault = back.security.vault
                made = events.create_subscription(session, vault, back.settings, viewer, form.request)
        except DomainError as error:
            form.refuse(error)
        else:
            return _secret(request, viewer, pages, platform, back, made.subscription.id, made.secret)
    return _form(request, viewer, pages, platform, back, form)


def _secret(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Back,
    subscription_id: UUID,
    secret: str | None,
) -> Response:
    with back.tenant(viewer) as session:
        found = views.get_subscription(session, viewer, subscription_id)
    context = framed(platform, viewer, subscription=found, secret=secret)
    return pages.respond(request, "webhooks/secret.html", context, status_code=HTTPStatus.CREATED)


def _name_events(form: Form[SubscriptionCreate]) -> None:
    """What is wrong with the boxes stands above them."""
    wrong = [name for name in form.errors if name.startswith("event_types")]
    if "event_types" not in wrong and (wrong or form.errors.get("", "").startswith("event_types")):
        form.errors = {name: said for name, said in form.errors.items() if name and name not in wrong}
        form.errors["event_types"] = NO_EVENT


def _form(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Back,
    form: Form[SubscriptionCreate],
) -> Response:
    context = framed(
        platform,
        viewer,
        form=form,
        choices=views.choices(),
        mail=back.settings.smtp.host is not None,
        api_example=API_EXAMPLE.format(base=str(request.base_url).rstrip("/")),
    )
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return pages.respond(request, "webhooks/new.html", context, status_code=status)


# --- the log ----------------------------------------------------------------------------------------


@router.get("/deliveries")
def list_deliveries(desk: AtDesk, listing: Annotated[Listing, Depends(LOG)]) -> Response:
    """What was sent and is to be sent; for htmx, the table alone. A log in which nothing waits stops polling."""
    desk.viewer.require("read")
    state = listing["state"] if listing["state"] in views.STATES else None
    where = DeliveryFilter(listing.id("subscription"), state, listing["event_type"] or None)
    with desk.session() as session:
        found = views.read_log(session, desk.viewer, where, listing.page(PAGE_SIZE))
        subscriptions = views.list_subscriptions(session, desk.viewer)
    return desk.show_list(
        "webhooks/log.html",
        "deliveries",
        listing,
        found.next_cursor,
        live=found.live,
        found=found,
        subscriptions=subscriptions,
    )


@router.post("/deliveries/replay", dependencies=[FromOurPage])
def replay_chosen(desk: AtDesk, chosen: Chosen) -> Response:
    """Send the chosen ones again."""
    desk.viewer.require("manage")

    def name(session: Session, delivery_id: UUID) -> str:
        delivery = events.get_delivery(session, desk.scope, delivery_id).delivery
        return f"{delivery.event_type} {delivery.resource_name}"

    def again(delivery_id: UUID) -> None:
        with desk.session() as session:
            events.replay_delivery(session, desk.viewer, delivery_id)

    outcomes = desk.each(chosen, name=name, act=again, done=desk.say(REPLAYED))
    return desk.show_outcomes(outcomes, f"{HOME}/deliveries")


@router.get("/deliveries/{delivery_id}")
def show_delivery(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, delivery_id: str
) -> Response:
    """One delivery: what was sent, and what each attempt was answered; for htmx, what changes of it."""
    viewer.require("read")
    with back.tenant(viewer) as session:
        found = views.get_delivery(session, viewer, parse_id(delivery_id))
    if "HX-Request" not in request.headers:
        return pages.respond(request, "webhooks/delivery.html", framed(platform, viewer, found=found))
    code = HTTPStatus.OK if found.delivery.state == "pending" else STOP_POLLING
    context = {"viewer": viewer, "found": found}
    return pages.respond(request, "webhooks/delivery.html", context, block="going", status_code=code)


@router.post("/deliveries/{delivery_id}/replay", dependencies=[FromOurPage])
def replay(request: Request, viewer: LoggedIn, pages: Pages, back: Back, delivery_id: str) -> Response:
    """Send it again."""
    viewer.require("manage")
    with back.tenant(viewer) as session:
        made = events.replay_delivery(session, viewer, parse_id(delivery_id))
    return flash.go_on(request, f"{HOME}/deliveries/{made.id}", pages.say(request, REPLAYED))


# --- one subscription -------------------------------------------------------------------------------


@router.get("/{subscription_id}")
def show_webhook(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, subscription_id: str
) -> Response:
    """One subscription, how it is going, and its newest deliveries."""
    viewer.require("read")
    return _show(request, viewer, pages, platform, back, parse_id(subscription_id), None)


@router.post("/{subscription_id}", dependencies=[FromOurPage])
def change_webhook(
    request: Request,
    viewer: LoggedIn,
    pages: Pages,
    platform: Services,
    back: Back,
    *,
    subscription_id: str,
    typed: Typed,
) -> Response:
    """Change where it goes and what it is told of."""
    viewer.require("manage")
    identity = parse_id(subscription_id)
    if not any(name.startswith("event_types.") for name in typed):
        form: Form[SubscriptionUpdate] = Form(values=typed, errors={"event_types": NO_EVENT})
    else:
        form = parse(SubscriptionUpdate, typed)
    if form.request is not None:
        change = form.request
        if "description" in typed and change.description is None:
            change.description = ""
        try:
            return _act(request, viewer, pages, back, identity, CHANGED, change)
        except DomainError as error:
            form.refuse(error)
    return _show(request, viewer, pages, platform, back, identity, form)


@router.post("/{subscription_id}/disable", dependencies=[FromOurPage])
def disable_webhook(request: Request, viewer: LoggedIn, pages: Pages, back: Back, subscription_id: str) -> Response:
    """Send nothing to it."""
    viewer.require("manage")
    change = SubscriptionUpdate(enabled=False)
    return _act(request, viewer, pages, back, parse_id(subscription_id), DISABLED, change)


@router.post("/{subscription_id}/enable", dependencies=[FromOurPage])
def enable_webhook(request: Request, viewer: LoggedIn, pages: Pages, back: Back, subscription_id: str) -> Response:
    """Take it up again."""
    viewer.require("manage")
    change = SubscriptionUpdate(enabled=True)
    return _act(request, viewer, pages, back, parse_id(subscription_id), ENABLED, change)


@router.post("/{subscription_id}/test", dependencies=[FromOurPage])
def send_test(request: Request, viewer: LoggedIn, pages: Pages, back: Back, subscription_id: str) -> Response:
    """Send a test; the page shown is its delivery."""
    viewer.require("manage")
    with back.tenant(viewer) as session:
        made = events.send_test(session, viewer, parse_id(subscription_id))
    return flash.go_on(request, f"{HOME}/deliveries/{made.id}", pages.say(request, TESTED))


@router.post("/{subscription_id}/secret", dependencies=[FromOurPage])
def rotate_secret(
    request: Request, viewer: LoggedIn, pages: Pages, platform: Services, back: Back, subscription_id: str
) -> Response:
    """A new signing secret, shown on the page that answers."""
    viewer.require("manage")
    identity = parse_id(subscription_id)
    with back.tenant(viewer) as session:
        secret = events.rotate_secret(session, back.security.vault, viewer, identity)
    return _secret(request, viewer, pages, platform, back, identity, secret)


@router.post("/{subscription_id}/delete", dependencies=[FromOurPage])
def delete_webhook(request: Request, viewer: LoggedIn, pages: Pages, back: Back, subscription_id: str) -> Response:
    """Delete it with its log."""
    viewer.require("manage")
    with back.tenant(viewer) as session:
        events.delete_subscription(session, viewer, parse_id(subscription_id))
    return flash.go_on(request, HOME, pages.say(request, DELETED))


def _act(
    request: Request,
    viewer: Principal,
    pages: Pages,
    back: Back,
    subscription_id: UUID,
    said: str,
    change: SubscriptionUpdate,
) -> Response:
    with back.tenant(viewer) as session:
        events.update_subscription(session, back.settings, viewer, subscription_id, change)
    return flash.go_on(request, f"{HOME}/{subscription_id}", pages.say(request, said))


def _show(
    request: Request,
    viewer: Principal,
    pages: Pages,
    platform: Services,
    back: Back,
    subscription_id: UUID,
    form: Form[SubscriptionUpdate] | None,
) -> Response:
    with back.tenant(viewer) as session:
        found = views.get_subscription(session, viewer, subscription_id)
        log = views.read_log(session, viewer, DeliveryFilter(subscription_id), PageRequest(limit=10))
    context = framed(
        platform,
        viewer,
        subscription=found,
        log=log,
        form=form or Form(values=views.typed_from(found)),
        choices=views.choices(),
    )
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form is not None else HTTPStatus.OK
    return pages.respond(request, "webhooks/subscription.html", context, status_code=status)
