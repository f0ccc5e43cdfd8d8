"""The endpoint controller: one step of one endpoint, inside the transaction of the lease's holder."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing.service import open_hold
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.core.ids import new_id
from backend.core.lifecycle import record_creation, transition
from backend.core.settings import Settings
from backend.endpoints import replicas, states
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica
from backend.endpoints.replicas import ACTOR
from backend.endpoints.repository import EndpointRepository
from backend.endpoints.routing import Known
from backend.endpoints.variants import ServingKey, serving_key

AT_ONCE: Final = timedelta(0)
SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(seconds=5)
MAX_FAILURES: Final = 5
STEADY: Final = timedelta(seconds=60)
"""A replica that served this long ends a row of failures."""
LONGEST_PAUSE: Final = timedelta(seconds=60)
PATIENCE: Final = timedelta(seconds=10)
"""A gateway that asks but does not come to know the route holds an endpoint up for so long and no longer."""


@dataclass
class View:
    """What one step works on: configs, and the open replicas that fit the wanted one and may stay."""

    endpoint: Endpoint
    wanted: EndpointConfig
    variants: list[ProductionVariant]
    keys: dict[UUID, ServingKey]
    open: list[Replica]
    kept: list[Replica]
    unknown_to_gateways: bool = False

    @property
    def ready(self) -> list[Replica]:
        """Kept replicas that answer."""
        return [replica for replica in self.kept if replica.status == states.IN_SERVICE]

    @property
    def is_live(self) -> bool:
        """Whether the wanted config answers already."""
        return self.endpoint.live_config_id == self.wanted.id


def step(
    session: Session, scope: Scope, endpoint: Endpoint, settings: Settings, *, known: Known | None
) -> datetime | None:
    """Move the endpoint as far as it can go now; returns when to look again, None = when somebody rings.

    `known`: which routing table every living gateway has applied; None = no gateway lives.
    """
    if endpoint.status == states.DELETED:
        return None
    repository = EndpointRepository(session, scope)
    before = list(repository.replicas([endpoint.id]))
    leaving = {one.id for one in before if replicas.follow(session, scope, one, settings).leaving}
    if endpoint.delete_requested_at is not None:
        return _delete(session, scope, endpoint, _still_open(before))
    view = _view(repository, endpoint, _still_open(before), leaving)
    failures = _failures(repository, view)
    hopeless = len(failures) >= MAX_FAILURES and not view.ready
    if hopeless and not (view.is_live and _answering(view)):
        return _give_up(session, scope, view, failures)
    if not view.is_live and endpoint.status != states.CREATING:
        _begin_update(session, view)
    _fill(session, scope, repository, view, failures)
    if len(view.ready) >= view.wanted.replica_count:
        _go_live(session, scope, view)
        view.unknown_to_gateways = _unknown_to_gateways(session, view, known)
    _settle_status(session, view)
    return database_now(session) + _pause(view)


def _still_open(rows: Sequence[Replica]) -> list[Replica]:
    return [row for row in rows if row.ended_at is None]


def _view(repository: EndpointRepository, endpoint: Endpoint, rows: list[Replica], leaving: set[UUID]) -> View:
    ids = {endpoint.wanted_config_id, *(row.config_id for row in rows)}
    if endpoint.live_config_id is not None:
        ids.add(endpoint.live_config_id)
    configs, variants = repository.configs(list(ids)), repository.variants(list(ids))
    keys = {id_: serving_key(configs[id_], variants[id_]) for id_ in ids}
    wanted = configs[endpoint.wanted_config_id]
    fitting = [
        row
        for row in rows
        if row.status in states.ACTIVE and row.id not in leaving and keys[row.config_id] == keys[wanted.id]
    ]
    # Those that answer first, then those furthest on their way: the surplus is at the end.
    fitting.sort(key=lambda row: (-states.ACTIVE.index(row.status), row.created_at))
    kept = fitting[: wanted.replica_count]
    return View(endpoint, wanted, variants[wanted.id], keys, rows, kept)


def _move(session: Session, endpoint: Endpoint, to: str, reason: str) -> None:
    transition(session, "endpoint", endpoint, to, states.ENDPOINT, reason=reason, actor=ACTOR)


def _begin_update(session: Session, view: View) -> None:
    """Another config is wanted. What the live replicas can serve (weights, replica count) is live at once."""
    endpoint = view.endpoint
    live = endpoint.live_config_id
    if endpoint.status != states.FAILED and live is not None and view.keys[live] == view.keys[view.wanted.id]:
        _set_live(session, view)
    elif endpoint.status != states.UPDATING:
        _move(session, endpoint, states.UPDATING, f"config {view.wanted.number} is wanted")


# --- replicas -------------------------------------------------------------------------------------


def _failures(repository: EndpointRepository, view: View) -> list[Replica]:
    """The row of failures of the wanted config, newest first."""
    row = []
    for replica in repository.last_ended([view.wanted.id], MAX_FAILURES * 2):
        ready_at, ended_at = replica.ready_at, replica.ended_at
        if ready_at is not None and ended_at is not None and ended_at - ready_at >= STEADY:
            break
        if replica.status in states.BROKEN:
            row.append(replica)
    return row


def _fill(session: Session, scope: Scope, repository: EndpointRepository, view: View, failures: list[Replica]) -> None:
    """Make missing replicas and place pending ones, unless spending is held or a pause after a failure runs."""
    endpoint = view.endpoint
    hold = open_hold(session, scope, endpoint.project_id)
    missing = view.wanted.replica_count - len(view.kept)
    pause = min(timedelta(seconds=2.0 ** min(len(failures), 10) / 2), LONGEST_PAUSE)
    resting = bool(failures) and (failures[0].ended_at or failures[0].created_at) + pause > database_now(session)
    # One that failed and is being stopped has not ended yet: the pause begins when it has.
    resting = resting or any(one.failure is not None and one.ended_at is None for one in view.open)
    if hold is None and not resting:
        for _ in range(missing):
            view.kept.append(_add_replica(session, repository, view))
    for replica in view.kept:
        if replica.status == states.PENDING:
            if hold is not None:
                replica.status_reason = f"spending is on hold: {hold.reason}"
            else:
                replicas.place(session, scope, endpoint, replica, view.wanted, view.variants)


def _add_replica(session: Session, repository: EndpointRepository, view: View) -> Replica:
    replica = Replica(
        id=new_id(),
        endpoint_id=view.endpoint.id,
        config_id=view.wanted.id,
        status=states.PENDING,
        status_reason="waiting for an instance",
        probes=[],
    )
    repository.add(replica)
    record_creation(session, "replica", replica, reason=f"for config {view.wanted.number}", actor=ACTOR)
    view.open.append(replica)
    return replica


def _set_live(session: Session, view: View) -> None:
    """The wanted config answers; its route is in no table yet."""
    view.endpoint.live_config_id = view.wanted.id
    view.wanted.live_at = view.wanted.live_at or database_now(session)
    view.endpoint.route_version = None


def _unknown_to_gateways(session: Session, view: View, known: Known | None) -> bool:
    """Whether a living gateway would still refuse a new endpoint's callers, or send them to the old config."""
    endpoint = view.endpoint
    if known is None or endpoint.status not in (states.CREATING, states.UPDATING):
        return False
    if endpoint.route_version is None:
        return True  # in no table yet: what gateways could not know they cannot be late with
    if endpoint.route_version <= known.version:
        return False
    moments = [one.ready_at for one in view.ready if one.ready_at is not None]
    if endpoint.route_version == known.newest:
        # A controller that was away builds the table long after the replicas were ready.
        moments.append(known.built_at)
    return bool(moments) and database_now(session) < max(moments) + PATIENCE


def _go_live(session: Session, scope: Scope, view: View) -> None:
    """Enough replicas of the wanted config answer: it becomes live, and whatever else there is goes."""
    if not view.is_live:
        _set_live(session, view)
    kept = {replica.id for replica in view.kept}
    for replica in view.open:
        if replica.id not in kept and replica.ended_at is None:
            replicas.retire(session, scope, replica, f"config {view.wanted.number} is served by others")


# --- status ---------------------------------------------------------------------------------------


def _settle_status(session: Session, view: View) -> None:
    """The status that the replicas allow, and a reason in plain words."""
    endpoint, ready, wanted = view.endpoint, len(view.ready), view.wanted.replica_count
    count = f"{ready} of {wanted} replicas in service"
    if view.unknown_to_gateways:
        endpoint.status_reason = f"{count}; the gateways are being told"
        return
    if view.is_live and ready >= wanted:
        if endpoint.status != states.IN_SERVICE:
            _move(session, endpoint, states.IN_SERVICE, count)
            endpoint.in_service_at = endpoint.in_service_at or database_now(session)
        endpoint.status_reason = count
        return
    answering = _answering(view)
    if endpoint.status == states.IN_SERVICE and not answering:
        _move(session, endpoint, states.OUT_OF_SERVICE, "no replica answers; they are being replaced")
    elif endpoint.status == states.OUT_OF_SERVICE and answering:
        _move(session, endpoint, states.IN_SERVICE, count)
    waiting = next((one.status_reason for one in view.kept if one.status in (states.PENDING, states.STARTING)), "")
    endpoint.status_reason = f"{count}; {waiting}" if waiting else count


def _answering(view: View) -> list[Replica]:
    """Replicas in the routing table: in service, and fitting the live config."""
    live = view.endpoint.live_config_id
    if live is None:
        return []
    return [one for one in view.open if one.status == states.IN_SERVICE and view.keys[one.config_id] == view.keys[live]]


def _pause(view: View) -> timedelta:
    if view.unknown_to_gateways:
        return AT_ONCE  # a gateway that has applied the table rings
    moving = any(one.status not in (states.IN_SERVICE, states.STARTING) for one in view.open if one.ended_at is None)
    complete = view.is_live and len(view.ready) >= view.wanted.replica_count
    return LATER if complete and not moving else SOON


def _give_up(session: Session, scope: Scope, view: View, failures: list[Replica]) -> datetime | None:
    """Too many failures in a row: back to the live config if it still answers, else failed."""
    endpoint = view.endpoint
    why = f"{len(failures)} replicas in a row failed, the last one: {failures[0].status_reason}"
    for replica in view.kept:
        replicas.retire(session, scope, replica, why)
    if endpoint.status == states.UPDATING and endpoint.live_config_id is not None and _answering(view):
        endpoint.wanted_config_id = endpoint.live_config_id
        reason = f"config {view.wanted.number} was rolled back: {why}"
        _move(session, endpoint, states.IN_SERVICE, reason)
        return database_now(session) + SOON
    if endpoint.status == states.IN_SERVICE:
        _move(session, endpoint, states.OUT_OF_SERVICE, "no replica answers")
    if endpoint.status != states.FAILED:
        _move(session, endpoint, states.FAILED, why)
    for replica in view.open:
        if replica.ended_at is None:
            replicas.retire(session, scope, replica, why)
    remaining = [one for one in view.open if one.ended_at is None]
    return database_now(session) + SOON if remaining else None


def _delete(session: Session, scope: Scope, endpoint: Endpoint, rows: list[Replica]) -> datetime | None:
    if endpoint.status != states.DELETING:
        _move(session, endpoint, states.DELETING, "a user asked to delete it")
    for replica in rows:
        replicas.retire(session, scope, replica, "the endpoint is deleted", at_once=True)
    remaining = [row for row in rows if row.ended_at is None]
    if remaining:
        endpoint.status_reason = f"waiting for {len(remaining)} replicas to end"
        return database_now(session) + SOON
    endpoint.deleted_at = database_now(session)
    endpoint.live_config_id = None
    _move(session, endpoint, states.DELETED, "its last replica ended")
    return None
