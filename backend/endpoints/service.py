"""Use cases of endpoints. Status is the controller's alone (`backend.endpoints.controller`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit.service import record as audit
from backend.billing.errors import SpendingOnHold
from backend.billing.service import open_hold
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Doorbell, Scope, ring_after_commit
from backend.core.ids import new_id
from backend.core.lifecycle import Event, record_creation
from backend.core.pagination import PageRequest
from backend.endpoints import states
from backend.endpoints.errors import (
    EndpointBeingDeleted,
    EndpointChanged,
    EndpointNameTaken,
    EndpointNotFound,
)
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica
from backend.endpoints.repository import Deployment, EndpointFilter, EndpointRepository
from backend.endpoints.variants import VariantRequest, change_weights, check_approved, check_variants
from backend.fleet import service as fleet
from backend.projects.service import get_project
from backend.registry.models import ModelVersion
from backend.registry.service import get_version

CONTROL = Doorbell("endpoints.control")


@dataclass(frozen=True)
class ConfigRequest:
    """What shall stand behind an endpoint."""

    instance_type: str
    replica_count: int
    processes: int
    variants: Sequence[VariantRequest]


@dataclass(frozen=True)
class ConfigDetail:
    """A config with its variants in order."""

    config: EndpointConfig
    variants: list[ProductionVariant]


@dataclass(frozen=True)
class EndpointDetail:
    """An endpoint, its wanted and its live config, and its open replicas."""

    endpoint: Endpoint
    wanted: ConfigDetail
    live: ConfigDetail | None
    replicas: list[Replica]


def create_endpoint(
    session: Session,
    principal: Principal,
    *,
    project_id: UUID,
    name: str,
    wanted: ConfigRequest,
    max_body_bytes: int,
    tags: dict[str, str],
    protected: bool = False,
) -> Endpoint:
    """A new endpoint, creating. Raises ProjectNotFound, InstanceTypeUnknown, ModelVersionNotFound, VariantsInvalid,
    SignatureMismatch, ModelVersionRejected, ModelVersionNotApproved, EndpointNameTaken, SpendingOnHold.
    """
    scope = principal.scope
    get_project(session, scope, project_id)
    _check_config(session, scope, wanted, protected=protected)
    _check_spending(session, scope, project_id)
    config_id = new_id()
    endpoint = Endpoint(
        id=new_id(),
        organization_id=scope.organization_id,
        project_id=project_id,
        name=name,
        status=states.CREATING,
        status_reason="waiting for placement",
        wanted_config_id=config_id,
        max_body_bytes=max_body_bytes,
        protected=protected,
        created_by=principal.actor,
        tags=tags,
        due_at=database_now(session),
    )
    _insert(session, EndpointRepository(session, scope), endpoint)
    _add_config(session, principal, endpoint.id, config_id, wanted)
    record_creation(session, "endpoint", endpoint, reason="created", actor=principal.actor)
    _wake(session, principal, endpoint, "endpoint.create", {"name": name})
    return endpoint


def _insert(session: Session, repository: EndpointRepository, endpoint: Endpoint) -> None:
    try:
        with session.begin_nested():
            repository.add(endpoint)
    except IntegrityError as error:
        if "uq_endpoints_name" in str(error.orig):
            raise EndpointNameTaken(
                f"an endpoint named '{endpoint.name}' exists", hint="endpoint names are unique per organization"
            ) from None
        raise


def _check_config(session: Session, scope: Scope, wanted: ConfigRequest, *, protected: bool) -> None:
    fleet.get_instance_type(session, scope, wanted.instance_type)
    check_variants(wanted.variants, _versions(session, scope, wanted.variants), protected=protected)


def _versions(
    session: Session, scope: Scope, variants: Sequence[VariantRequest | ProductionVariant]
) -> dict[UUID, ModelVersion]:
    return {id_: get_version(session, scope, id_) for id_ in {variant.model_version_id for variant in variants}}


def _check_spending(session: Session, scope: Scope, project_id: UUID) -> None:
    hold = open_hold(session, scope, project_id)
    if hold is not None:
        raise SpendingOnHold(f"new spending is on hold: {hold.reason}", hint="raise the budget or lift the hold")


def _add_config(
    session: Session, principal: Principal, endpoint_id: UUID, config_id: UUID, wanted: ConfigRequest
) -> None:
    repository = EndpointRepository(session, principal.scope)
    repository.add(
        EndpointConfig(
            id=config_id,
            endpoint_id=endpoint_id,
            number=repository.last_number(endpoint_id) + 1,
            instance_type=wanted.instance_type,
            replica_count=wanted.replica_count,
            processes=wanted.processes,
            created_by=principal.actor,
        )
    )
    repository.add(
        *(
            ProductionVariant(
                config_id=config_id,
                name=variant.name,
                model_version_id=variant.model_version_id,
                weight=variant.weight,
                position=position,
            )
            for position, variant in enumerate(wanted.variants)
        )
    )


def _wake(session: Session, principal: Principal, endpoint: Endpoint, action: str, detail: dict[str, Any]) -> None:
    endpoint.due_at = database_now(session)
    audit(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind="endpoint",
        resource_id=endpoint.id,
        detail=detail,
    )
    ring_after_commit(session, CONTROL)


def list_endpoints(
    session: Session, scope: Scope, where: EndpointFilter, page: PageRequest
) -> tuple[list[EndpointDetail], str | None]:
    """Endpoints, newest first (deleted ones only by status), and the cursor of the next page."""
    rows, cursor = EndpointRepository(session, scope).page(where, page)
    return _details(session, scope, rows), cursor


def find_named(session: Session, scope: Scope, words: str, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """(id, name, status) of up to `limit` endpoints whose name holds `words`; see `core.names`."""
    return EndpointRepository(session, scope).named(words, limit)


def get_endpoint(session: Session, scope: Scope, endpoint_id: UUID) -> EndpointDetail:
    """One endpoint with configs and open replicas. Raises EndpointNotFound."""
    endpoint = EndpointRepository(session, scope).endpoint(endpoint_id)
    if endpoint is None:
        raise EndpointNotFound(f"there is no endpoint {endpoint_id}")
    return _details(session, scope, [endpoint])[0]


def find_endpoints(session: Session, scope: Scope, endpoint_ids: Collection[UUID]) -> dict[UUID, Endpoint]:
    """Endpoints by id, deleted ones too; ids of none are left out."""
    return EndpointRepository(session, scope).endpoints(endpoint_ids) if endpoint_ids else {}


def list_events(session: Session, scope: Scope, endpoint_id: UUID) -> Sequence[Event]:
    """The endpoint's last 200 status changes, oldest first. Raises EndpointNotFound."""
    get_endpoint(session, scope, endpoint_id)
    return EndpointRepository(session, scope).events(endpoint_id, limit=200)


def list_replicas(
    session: Session, scope: Scope, endpoint_id: UUID, page: PageRequest
) -> tuple[list[Replica], str | None]:
    """Every replica of the endpoint, ended ones with their failure, newest first. Raises EndpointNotFound."""
    get_endpoint(session, scope, endpoint_id)
    return EndpointRepository(session, scope).replica_page(endpoint_id, page)


def _details(session: Session, scope: Scope, endpoints: Sequence[Endpoint]) -> list[EndpointDetail]:
    repository = EndpointRepository(session, scope)
    ids = {endpoint.wanted_config_id for endpoint in endpoints}
    ids |= {endpoint.live_config_id for endpoint in endpoints if endpoint.live_config_id is not None}
    configs, variants = repository.configs(list(ids)), repository.variants(list(ids))
    details = {config_id: ConfigDetail(configs[config_id], variants[config_id]) for config_id in ids}
    replicas = repository.replicas([endpoint.id for endpoint in endpoints])
    return [
        EndpointDetail(
            endpoint,
            details[endpoint.wanted_config_id],
            details[endpoint.live_config_id] if endpoint.live_config_id is not None else None,
            [replica for replica in replicas if replica.endpoint_id == endpoint.id],
        )
        for endpoint in endpoints
    ]


def list_configs(
    session: Session, scope: Scope, endpoint_id: UUID, page: PageRequest
) -> tuple[list[ConfigDetail], str | None]:
    """Every config that was asked for, newest first, and the next page's cursor. Raises EndpointNotFound."""
    get_endpoint(session, scope, endpoint_id)
    repository = EndpointRepository(session, scope)
    rows, cursor = repository.config_page(endpoint_id, page)
    variants = repository.variants([row.id for row in rows])
    return [ConfigDetail(row, variants[row.id]) for row in rows], cursor


def config_at(session: Session, scope: Scope, endpoint_id: UUID, moment: datetime) -> ConfigDetail | None:
    """The config that answered at a moment; None where none did yet. Raises EndpointNotFound.

    An endpoint that was deleted answers nothing from then on.
    """
    endpoint = get_endpoint(session, scope, endpoint_id).endpoint
    repository = EndpointRepository(session, scope)
    found = repository.config_at(endpoint_id, moment)
    ended = endpoint.delete_requested_at
    if found is None or (ended is not None and ended <= moment):
        return None
    return ConfigDetail(found, repository.variants([found.id])[found.id])


def set_config(
    session: Session, principal: Principal, endpoint_id: UUID, wanted: ConfigRequest, *, seen: int | None = None
) -> EndpointDetail:
    """Ask for another config. `seen`: the number of the config that this one was made from.

    Raises what `create_endpoint` raises of configs, EndpointNotFound, EndpointBeingDeleted, EndpointChanged.
    """
    endpoint = _changeable(session, principal.scope, endpoint_id, seen)
    _check_config(session, principal.scope, wanted, protected=endpoint.protected)
    _check_spending(session, principal.scope, endpoint.project_id)
    return _want(session, principal, endpoint, wanted, "endpoint.set_config")


def set_weights(
    session: Session,
    principal: Principal,
    endpoint_id: UUID,
    weights: dict[str, Decimal],
    *,
    seen: int | None = None,
) -> EndpointDetail:
    """Other weights for the variants that are wanted now; replicas stay. `seen`: the number of the config they change.

    Raises EndpointNotFound, VariantUnknown, VariantsInvalid, EndpointBeingDeleted, EndpointChanged, and
    ModelVersionNotApproved where a protected endpoint would send more to a version that was rejected since.
    """
    endpoint = _changeable(session, principal.scope, endpoint_id, seen)
    repository = EndpointRepository(session, principal.scope)
    config = repository.config(endpoint.wanted_config_id)
    variants = repository.variants([config.id])[config.id]
    changed = change_weights(variants, weights)
    if endpoint.protected:
        before = {variant.name: variant.weight for variant in variants}
        raised = [variant for variant in changed if variant.weight > before[variant.name]]
        check_approved(raised, _versions(session, principal.scope, raised))
    wanted = ConfigRequest(config.instance_type, config.replica_count, config.processes, changed)
    return _want(session, principal, endpoint, wanted, "endpoint.set_weights")


def update_endpoint(
    session: Session,
    principal: Principal,
    endpoint_id: UUID,
    *,
    protected: bool | None = None,
    tags: dict[str, str] | None = None,
) -> EndpointDetail:
    """Protect it or not, replace its tags; None leaves them. Raises EndpointNotFound, EndpointBeingDeleted, and
    ModelVersionNotApproved where it has variants that a protected endpoint may not have.
    """
    endpoint = _changeable(session, principal.scope, endpoint_id)
    detail: dict[str, Any] = {}
    if protected is not None:
        if protected:
            ids = [one for one in (endpoint.wanted_config_id, endpoint.live_config_id) if one is not None]
            for variants in EndpointRepository(session, principal.scope).variants(ids).values():
                check_approved(variants, _versions(session, principal.scope, variants))
        endpoint.protected = detail["protected"] = protected
    if tags is not None:
        endpoint.tags = dict(tags)
        detail["tags"] = sorted(tags)
    audit(
        session,
        principal,
        principal.scope,
        action="endpoint.update",
        resource_kind="endpoint",
        resource_id=endpoint.id,
        detail=detail,
    )
    session.flush()
    return _details(session, principal.scope, [endpoint])[0]


def deployments(session: Session, scope: Scope, model_ids: Sequence[UUID]) -> list[Deployment]:
    """Where versions of these models stand: behind which endpoints, by endpoint's name and variant."""
    return EndpointRepository(session, scope).deployments(model_ids)


def _want(
    session: Session, principal: Principal, endpoint: Endpoint, wanted: ConfigRequest, action: str
) -> EndpointDetail:
    config_id = new_id()
    _add_config(session, principal, endpoint.id, config_id, wanted)
    endpoint.wanted_config_id = config_id
    weights = {variant.name: str(variant.weight) for variant in wanted.variants}
    _wake(session, principal, endpoint, action, {"weights": weights})
    session.flush()
    return _details(session, principal.scope, [endpoint])[0]


def request_deletion(session: Session, principal: Principal, endpoint_id: UUID) -> Endpoint:
    """A user's intent (★4); asking twice changes nothing. Raises EndpointNotFound."""
    endpoint = EndpointRepository(session, principal.scope).endpoint(endpoint_id, lock=True)
    if endpoint is None or endpoint.status == states.DELETED:
        raise EndpointNotFound(f"there is no endpoint {endpoint_id}")
    if endpoint.delete_requested_at is None:
        endpoint.delete_requested_at = database_now(session)
        _wake(session, principal, endpoint, "endpoint.delete", {"name": endpoint.name})
    return endpoint


def _changeable(session: Session, scope: Scope, endpoint_id: UUID, seen: int | None = None) -> Endpoint:
    repository = EndpointRepository(session, scope)
    endpoint = repository.endpoint(endpoint_id, lock=True)
    if endpoint is None or endpoint.status == states.DELETED:
        raise EndpointNotFound(f"there is no endpoint {endpoint_id}")
    if endpoint.delete_requested_at is not None:
        raise EndpointBeingDeleted(f"endpoint '{endpoint.name}' is being deleted")
    wanted = repository.config(endpoint.wanted_config_id).number
    if seen is not None and seen != wanted:
        raise EndpointChanged(
            f"endpoint '{endpoint.name}' has config {wanted} by now, and this was made from config {seen}",
            config=wanted,
        )
    return endpoint
