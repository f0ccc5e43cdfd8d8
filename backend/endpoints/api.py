"""REST routes of endpoints."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response, status

from backend.billing.errors import SpendingOnHold
from backend.core.fields import Moment
from backend.core.http import Reader, Transaction, Writer
from backend.core.pagination import Page, PageParameters
from backend.core.problems import raises
from backend.endpoints import service, traffic
from backend.endpoints.errors import (
    EndpointBeingDeleted,
    EndpointChanged,
    EndpointNameTaken,
    EndpointNotFound,
    ModelVersionNotApproved,
    ModelVersionRejected,
    SignatureMismatch,
    TrafficPeriodInvalid,
    VariantsInvalid,
    VariantUnknown,
)
from backend.endpoints.repository import EndpointFilter
from backend.endpoints.schemas import (
    ConfigView,
    ConfigWrite,
    EndpointCreate,
    EndpointUpdate,
    EndpointView,
    EventList,
    EventView,
    ReplicaView,
    TrafficView,
    WeightsWrite,
)
from backend.fleet.errors import InstanceTypeUnknown
from backend.projects.errors import ProjectNotFound
from backend.registry.errors import ModelVersionNotFound

_CONFIGURED = (
    InstanceTypeUnknown,
    ModelVersionNotFound,
    ModelVersionRejected,
    ModelVersionNotApproved,
    SignatureMismatch,
    VariantsInvalid,
)
PRINTABLE = r"^[\x20-\x7e]*$"

router = APIRouter(prefix="/api/v1/endpoints", tags=["endpoints"])


def read_if_match(
    if_match: Annotated[
        str | None,
        Header(
            pattern=r'^"[0-9]{1,9}"$',
            description="the ETag of the endpoint this was made from: 409 where its config is another by now",
        ),
    ] = None,
) -> int | None:
    """A dependency: the number of the config that the caller saw."""
    return None if if_match is None else int(if_match.strip('"'))


Seen = Annotated[int | None, Depends(read_if_match)]


def _tagged(detail: service.EndpointDetail, response: Response) -> EndpointView:
    """The view, and an ETag that names its config."""
    response.headers["ETag"] = f'"{detail.wanted.config.number}"'
    return EndpointView.of(detail)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=raises(*_CONFIGURED, ProjectNotFound, EndpointNameTaken, SpendingOnHold),
)
def create_endpoint(body: EndpointCreate, principal: Writer, session: Transaction) -> EndpointView:
    """Create an endpoint; it answers once every variant answered a probe. 409 `endpoint_name_taken`."""
    endpoint = service.create_endpoint(
        session,
        principal,
        project_id=body.project_id,
        name=body.name,
        wanted=body.request(),
        max_body_bytes=body.max_body_bytes,
        tags=body.tags,
        protected=body.protected,
    )
    return EndpointView.of(service.get_endpoint(session, principal.scope, endpoint.id))


@router.get("")
def list_endpoints(
    principal: Reader,
    session: Transaction,
    page: PageParameters,
    project_id: UUID | None = None,
    endpoint_status: Annotated[str | None, Query(alias="status", max_length=32, pattern=PRINTABLE)] = None,
    name: Annotated[str | None, Query(max_length=63, pattern=PRINTABLE, description="only this name")] = None,
) -> Page[EndpointView]:
    """List endpoints, newest first; deleted ones only with `status=deleted`."""
    where = EndpointFilter(project_id, endpoint_status, name)
    details, cursor = service.list_endpoints(session, principal.scope, where, page)
    return Page(items=[EndpointView.of(detail) for detail in details], next_cursor=cursor)


@router.get("/{endpoint_id}", responses=raises(EndpointNotFound))
def get_endpoint(endpoint_id: UUID, principal: Reader, session: Transaction, response: Response) -> EndpointView:
    """Read one endpoint, with its configs and replicas. Its ETag names its config, for `If-Match`."""
    return _tagged(service.get_endpoint(session, principal.scope, endpoint_id), response)


@router.get("/{endpoint_id}/configs", responses=raises(EndpointNotFound))
def list_configs(endpoint_id: UUID, principal: Reader, session: Transaction, page: PageParameters) -> Page[ConfigView]:
    """Every config that was asked for, newest first: what answered when, and with which weights."""
    found, cursor = service.list_configs(session, principal.scope, endpoint_id, page)
    return Page(items=[ConfigView.of(one) for one in found], next_cursor=cursor)


@router.patch("/{endpoint_id}", responses=raises(EndpointNotFound, EndpointBeingDeleted, ModelVersionNotApproved))
def update_endpoint(endpoint_id: UUID, body: EndpointUpdate, principal: Writer, session: Transaction) -> EndpointView:
    """Protect it or not, or replace its tags; what is left out stays."""
    detail = service.update_endpoint(session, principal, endpoint_id, protected=body.protected, tags=body.tags)
    return EndpointView.of(detail)


@router.get("/{endpoint_id}/events", responses=raises(EndpointNotFound))
def list_events(endpoint_id: UUID, principal: Reader, session: Transaction) -> EventList:
    """The endpoint's status changes, oldest first; the last 200."""
    rows = service.list_events(session, principal.scope, endpoint_id)
    return EventList(items=[EventView.model_validate(row) for row in rows])


@router.get("/{endpoint_id}/replicas", responses=raises(EndpointNotFound))
def list_replicas(
    endpoint_id: UUID, principal: Reader, session: Transaction, page: PageParameters
) -> Page[ReplicaView]:
    """Every replica it has or had, newest first; ended ones say why, with the last lines of their log."""
    rows, cursor = service.list_replicas(session, principal.scope, endpoint_id, page)
    return Page(items=[ReplicaView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{endpoint_id}/traffic", responses=raises(EndpointNotFound, TrafficPeriodInvalid))
def read_traffic(
    endpoint_id: UUID,
    principal: Reader,
    session: Transaction,
    from_at: Annotated[Moment | None, Query(alias="from", description="default: an hour before `to`")] = None,
    to_at: Annotated[Moment | None, Query(alias="to", description="default: now")] = None,
) -> TrafficView:
    """Calls, items, errors and compute per variant, and per minute and variant."""
    found = traffic.read_traffic(session, principal.scope, endpoint_id, from_at=from_at, to_at=to_at)
    return TrafficView.of(found)


@router.patch(
    "/{endpoint_id}/weights",
    responses=raises(
        EndpointNotFound,
        EndpointBeingDeleted,
        EndpointChanged,
        VariantUnknown,
        VariantsInvalid,
        ModelVersionNotApproved,
    ),
)
def set_weights(
    endpoint_id: UUID,
    body: WeightsWrite,
    principal: Writer,
    session: Transaction,
    *,
    seen: Seen,
    response: Response,
) -> EndpointView:
    """Change how traffic is split; no replica is replaced."""
    return _tagged(service.set_weights(session, principal, endpoint_id, body.weights, seen=seen), response)


@router.put(
    "/{endpoint_id}/config",
    responses=raises(*_CONFIGURED, EndpointNotFound, EndpointBeingDeleted, EndpointChanged, SpendingOnHold),
)
def set_config(
    endpoint_id: UUID,
    body: ConfigWrite,
    principal: Writer,
    session: Transaction,
    *,
    seen: Seen,
    response: Response,
) -> EndpointView:
    """Ask for another config: its replicas answer before the old ones stop."""
    return _tagged(service.set_config(session, principal, endpoint_id, body.request(), seen=seen), response)


@router.delete("/{endpoint_id}", status_code=status.HTTP_202_ACCEPTED, responses=raises(EndpointNotFound))
def delete_endpoint(endpoint_id: UUID, principal: Writer, session: Transaction) -> EndpointView:
    """Ask for its deletion: it stops answering at once and is deleted when its replicas have ended."""
    endpoint = service.request_deletion(session, principal, endpoint_id)
    session.flush()
    return EndpointView.of(service.get_endpoint(session, principal.scope, endpoint.id))
