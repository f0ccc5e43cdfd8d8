"""What an operator changes: an organization's quotas, its suspension, the end of a machine.

Each act is done in the organization it concerns and stands in its audit; the operator's own role there does not count.
"""

from collections.abc import Mapping
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from backend.admin.schemas import InstanceCount, PerMinute
from backend.audit.service import record
from backend.billing import budgets
from backend.core.auth import Principal
from backend.core.db import Scope
from backend.core.errors import DomainError, RouteNotFound
from backend.core.fields import DisplayName
from backend.fleet import console as fleet_console
from backend.fleet import service as fleet
from backend.identity import service as identity
from backend.jobs import console as jobs_console
from backend.jobs import service as jobs
from frontend import flash, forms
from frontend.backstage import Backstage
from frontend.forms import Typed
from frontend.pages.admin import AtConsole, Operating, console_frame
from frontend.pages.common import Back, Chosen, FromOurPage, Pages, Services
from frontend.services import parse_id
from frontend.views import console

router = APIRouter(prefix="/admin")


class QuotaForm(BaseModel):
    """How many instances of a type (`*`: of all types together) an organization may have; empty = no quota."""

    instance_type: str = Field(min_length=1, max_length=200)
    max_instances: InstanceCount | None = None


class RateForm(BaseModel):
    """Requests per minute of each credential of an organization; empty = the platform's usual number, 0 = any."""

    requests_per_minute: PerMinute | None = None


class SuspensionForm(BaseModel):
    """Why new spending of an organization stops: its members read it."""

    reason: DisplayName


@router.get("/organizations/{organization_id}")
def show_organization(
    request: Request, *, viewer: Operating, pages: Pages, platform: Services, back: Back, organization_id: str
) -> Response:
    """One organization: spend, quotas, what stops its spending."""
    context = _organization(back, viewer, parse_id(organization_id))
    return pages.respond(request, "admin/organization.html", console_frame(platform, viewer, **context))


def _refused(request: Request, pages: Pages, framed: Mapping[str, object]) -> Response:
    """The organization's page again, with what is wrong beside the form that was sent."""
    return pages.respond(request, "admin/organization.html", framed, status_code=HTTPStatus.UNPROCESSABLE_ENTITY)


@router.post("/organizations/{organization_id}/quotas", dependencies=[FromOurPage])
def set_quota(
    request: Request,
    *,
    viewer: Operating,
    pages: Pages,
    platform: Services,
    back: Back,
    organization_id: str,
    typed: Typed,
) -> Response:
    """Set, change or remove one quota."""
    found, form = parse_id(organization_id), forms.parse(QuotaForm, typed)
    _exists(back, found)
    if form.request is not None:
        try:
            with back.within(found) as session:
                fleet.set_quota(
                    session, viewer.operating, Scope(found), form.request.instance_type, form.request.max_instances
                )
            return flash.go_on(request, f"/admin/organizations/{found}", pages.say(request, "The quota was changed."))
        except DomainError as error:
            form.errors["instance_type"] = f"{error.detail[:1].upper()}{error.detail[1:]}."
    context = _organization(back, viewer, found) | {"quota": form}
    return _refused(request, pages, console_frame(platform, viewer, **context))


@router.post("/organizations/{organization_id}/rate", dependencies=[FromOurPage])
def set_rate(
    request: Request,
    *,
    viewer: Operating,
    pages: Pages,
    platform: Services,
    back: Back,
    organization_id: str,
    typed: Typed,
) -> Response:
    """Set how many requests each credential of an organization may send in a minute."""
    found, form = parse_id(organization_id), forms.parse(RateForm, typed)
    _exists(back, found)
    if form.request is None:
        context = _organization(back, viewer, found) | {"rate": form}
        return _refused(request, pages, console_frame(platform, viewer, **context))
    with back.within(found) as session:
        identity.set_request_rate(session, viewer.operating, Scope(found), form.request.requests_per_minute)
    said = pages.say(request, "The request rate was changed. It counts within a minute.")
    return flash.go_on(request, f"/admin/organizations/{found}", said)


@router.post("/organizations/{organization_id}/suspend", dependencies=[FromOurPage])
def suspend(
    request: Request,
    *,
    viewer: Operating,
    pages: Pages,
    platform: Services,
    back: Back,
    organization_id: str,
    typed: Typed,
) -> Response:
    """Stop new spending of an organization; what runs goes on until it ends."""
    found, form = parse_id(organization_id), forms.parse(SuspensionForm, typed)
    _exists(back, found)
    if form.request is None:
        context = _organization(back, viewer, found) | {"suspension": form}
        return _refused(request, pages, console_frame(platform, viewer, **context))
    with back.within(found) as session:
        budgets.suspend(session, viewer, Scope(found), form.request.reason)
    said = pages.say(request, "New spending of this organization is stopped.")
    return flash.go_on(request, f"/admin/organizations/{found}", said)


@router.post("/organizations/{organization_id}/resume", dependencies=[FromOurPage])
def resume(request: Request, viewer: Operating, pages: Pages, back: Back, organization_id: str) -> Response:
    """Lift what `suspend` placed."""
    found = parse_id(organization_id)
    _exists(back, found)
    with back.within(found) as session:
        budgets.resume(session, viewer, Scope(found))
    said = pages.say(request, "This organization may spend again.")
    return flash.go_on(request, f"/admin/organizations/{found}", said)


@router.post("/instances/{instance_id}/drain", dependencies=[FromOurPage])
def drain(request: Request, viewer: Operating, pages: Pages, back: Back, instance_id: str) -> Response:
    """No new work on a machine; what it does checkpoints and moves."""
    found = parse_id(instance_id)
    with back.across() as session:
        owner = fleet_console.owner_of(session, found)
    if owner is None:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    with back.within(owner[0]) as session:
        fleet.request_drain(session, Scope(owner[0]), found)
        _record(session, viewer, owner[0], found)
    said = pages.say(request, "The instance drains: it takes no new work, and ends when what it does has moved.")
    return flash.go_on(request, "/admin/instances", said)


@router.post("/jobs/stop", dependencies=[FromOurPage])
def stop_jobs(desk: AtConsole, chosen: Chosen) -> Response:
    """Ask the chosen jobs to stop, each in its organization's name."""

    def name(_session: Session, job_id: UUID) -> str:
        return _job(desk.back, job_id).name

    def stop(job_id: UUID) -> None:
        owner = Scope(_job(desk.back, job_id).organization_id)
        with desk.back.within(owner.organization_id) as session:
            jobs.stop_for(session, desk.viewer.operating, owner, job_id)

    done = desk.say("It was asked to stop: it writes a checkpoint and ends.")
    return desk.show_outcomes(desk.each(chosen, name=name, act=stop, done=done), "/admin/jobs")


def _job(back: Backstage, job_id: UUID) -> jobs_console.JobOwner:
    """Raises RouteNotFound."""
    with back.across() as session:
        found = jobs_console.owner_of(session, job_id)
    if found is None:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    return found


def _record(session: Session, viewer: Principal, organization_id: UUID, instance_id: UUID) -> None:
    record(
        session,
        viewer.operating,
        Scope(organization_id),
        action="instance.drain",
        resource_kind="instance",
        resource_id=instance_id,
        detail={},
    )


def _exists(back: Back, organization_id: UUID) -> None:
    """Raises RouteNotFound."""
    with back.across() as session:
        console.check_organization(session, organization_id)


def _organization(back: Back, viewer: Principal, organization_id: UUID) -> dict[str, object]:
    with back.across() as session:
        found = console.read_organization(session, organization_id)
    with back.tenant(viewer) as session:
        types = [one.name for one in fleet.list_instance_types(session, viewer.scope)]
    usual = back.settings.api.requests_per_minute
    blank: dict[str, object] = {name: forms.Form() for name in ("quota", "rate", "suspension")}
    return {"found": found, "types": types, "usual": usual, **blank}
