"""An instance's life on the real local provider, and what a crash, a refusal or a silence does to it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func

from backend.core.crypto import hash_token, new_token
from backend.core.db import Scope, act_as
from backend.core.ids import new_id
from backend.fleet import service
from backend.fleet.errors import InstanceNotFound
from backend.fleet.provisioners.registry import provisioner_for
from tests.fleet.conftest import Fleet
from tests.localhost.test_local_provider import Host
from tests.platform.waiting import until
from worker.context import ControlContext
from worker.tasks import fleet

pytestmark = pytest.mark.integration


def made(machines: Fleet, instance_id: UUID) -> int:
    """How many machines the provider ever made for this instance, by its own log."""
    tag = machines.row(instance_id).tag
    return sum(event["event"] == "requested" for event in machines.host.events(tag))


def state_of(machines: Fleet, instance_id: UUID) -> str:
    return machines.host.provider.describe(machines.row(instance_id).tag).state


def test_an_instance_lives_and_ends_with_its_machine(machines: Fleet) -> None:
    instance_id = machines.request()
    assert machines.row(instance_id).status == "requested"
    assert machines.look(instance_id) == "provisioning"
    assert machines.look(instance_id) == "provisioning"
    machines.hello(instance_id)
    assert machines.look(instance_id) == "ready"
    assert machines.look(instance_id) == "ready"
    with machines.context.database.unit_of_work() as session:
        act_as(session, machines.tenant.organization_id)
        service.request_drain(session, machines.tenant.scope, instance_id)
    assert machines.look(instance_id) == "terminating"
    machines.end(instance_id)
    row = machines.row(instance_id)
    assert row.requested_at < row.launched_at < row.ready_at < row.terminating_at < row.terminated_at  # type: ignore[operator]  # all are set by now
    assert (row.due_at, row.lease_token, state_of(machines, instance_id)) == (None, None, "terminated")
    assert made(machines, instance_id) == 1


def test_an_idle_instance_that_nobody_takes_goes(machines: Fleet) -> None:
    instance_id = machines.ready().instance_id
    machines.set(instance_id, ready_at=func.clock_timestamp() - timedelta(seconds=30))
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == "idle, and no hold keeps it"


# --- crashes --------------------------------------------------------------------------------------------


def _die_before_the_provider_is_asked(machines: Fleet, instance_id: UUID) -> None:
    assert fleet._commit_token(machines.context, machines.claim(instance_id), new_token("myi"))  # noqa: SLF001 - the crash lies inside


def _die_before_the_answer_is_recorded(machines: Fleet, instance_id: UUID) -> None:
    lease = machines.claim(instance_id)
    seen = fleet._see(machines.context, lease)  # noqa: SLF001 - same
    assert seen is not None
    provisioner = provisioner_for(machines.context.settings, "local")
    assert fleet._create(machines.context, lease, seen, provisioner) is not None  # noqa: SLF001 - same


@pytest.mark.parametrize("die", [_die_before_the_provider_is_asked, _die_before_the_answer_is_recorded])
def test_a_controller_that_dies_while_creating_leaves_one_machine(
    machines: Fleet, die: Callable[[Fleet, UUID], None]
) -> None:
    instance_id = machines.request()
    die(machines, instance_id)
    assert machines.look(instance_id) == "provisioning"
    machines.hello(instance_id)
    assert machines.look(instance_id) == "ready"
    assert made(machines, instance_id) == 1
    assert fleet.reconcile(machines.context) == 0


def test_a_controller_that_dies_while_terminating_ends_it_all_the_same(machines: Fleet) -> None:
    instance_id = machines.ready().instance_id
    machines.set(instance_id, drain_requested_at=func.clock_timestamp())
    assert machines.look(instance_id) == "terminating"
    machines.claim(instance_id)
    machines.host.provider.terminate(machines.row(instance_id).tag)
    machines.end(instance_id)


def test_what_a_stale_lease_learnt_is_dropped(machines: Fleet) -> None:
    instance_id = machines.request()
    stale = machines.claim(instance_id)
    seen = fleet._see(machines.context, stale)  # noqa: SLF001 - the lease is lost in between
    assert seen is not None
    assert machines.look(instance_id) == "provisioning"
    before = machines.row(instance_id)
    assert fleet._create(machines.context, stale, seen, provisioner_for(machines.context.settings, "local")) is None  # noqa: SLF001 - same
    fleet._provision(machines.context, stale, seen)  # noqa: SLF001 - same
    fleet.step(machines.context, stale)
    after = machines.row(instance_id)
    assert (after.token_hash, after.create_attempts, after.due_at) == (before.token_hash, 1, before.due_at)
    assert made(machines, instance_id) == 1


# --- refusals -------------------------------------------------------------------------------------------


def test_no_capacity_ends_the_instance_at_once(machines: Fleet) -> None:
    instance_id = machines.request()
    machines.host.provider.fail_next_create("no capacity in this zone")
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == "the provider refused: no capacity in this zone"
    assert machines.look(instance_id) == "terminated"
    assert made(machines, instance_id) == 0


def test_a_provider_that_does_not_answer_is_asked_again(machines: Fleet, tmp_path: Path) -> None:
    instance_id = machines.request()
    settings = machines.context.settings
    gone = ControlContext(
        machines.context.database,
        settings.model_copy(update={"localhost_socket": tmp_path / "none"}),
        machines.context.storage,
        None,
    )
    fleet.step(gone, machines.claim(instance_id))
    row = machines.row(instance_id)
    assert row.status == "requested"
    assert "could not be asked" in row.status_reason
    assert row.due_at is not None
    assert machines.look(instance_id) == "provisioning"
    machines.hello(instance_id)
    assert machines.look(instance_id) == "ready"
    # Now the silence hits a ready instance: it is kept, metered and drained all the same.
    fleet.step(gone, machines.claim(instance_id))
    assert (machines.row(instance_id).status, machines.row(instance_id).status_reason) == (
        "ready",
        "its agent said hello",
    )
    machines.set(instance_id, drain_requested_at=func.clock_timestamp())
    fleet.step(gone, machines.claim(instance_id))
    fleet.step(gone, machines.claim(instance_id))
    assert (machines.row(instance_id).status, machines.row(instance_id).status_reason) == ("terminating", "drained")
    assert fleet.reconcile(gone) == 0
    machines.end(instance_id)


def test_a_tag_that_the_provider_never_takes_is_given_up(machines: Fleet) -> None:
    instance_id = machines.request()
    machines.set(instance_id, tag=f"Bad tag {instance_id}")
    statuses = [machines.look(instance_id) for _ in range(fleet.MAX_CREATE_ATTEMPTS)]
    assert statuses == ["provisioning"] * (fleet.MAX_CREATE_ATTEMPTS - 1) + ["terminating"]
    assert machines.look(instance_id) == "terminated"


# --- nobody needs it any more ---------------------------------------------------------------------------


def test_what_nobody_wants_any_more_is_never_made(machines: Fleet) -> None:
    job_id = new_id()
    instance_id = machines.request(job_id)
    with machines.context.database.unit_of_work() as session:
        act_as(session, machines.tenant.organization_id)
        service.give_up_request(session, machines.tenant.scope, job_id)
    assert machines.look(instance_id) == "terminating"
    assert machines.look(instance_id) == "terminated"
    assert made(machines, instance_id) == 0
    assert machines.row(instance_id).token_hash is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"requested_for": None}, "nobody needs it any more"),
        ({"drain_requested_at": func.clock_timestamp()}, "drained before it was ready"),
    ],
)
def test_what_boots_for_nobody_is_ended(machines: Fleet, change: dict[str, Any], reason: str) -> None:
    instance_id = machines.request()
    assert machines.look(instance_id) == "provisioning"
    machines.set(instance_id, **change)
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == reason
    machines.end(instance_id)


def test_a_boot_that_takes_too_long_is_ended(machines: Fleet) -> None:
    instance_id = machines.request()
    machines.look(instance_id)
    machines.set(instance_id, launched_at=func.clock_timestamp() - timedelta(seconds=31))
    machines.api(up_for=10, silent_for=0)
    assert machines.look(instance_id) == "provisioning", "an agent cannot say hello to an API that is down"
    machines.api(up_for=3600, silent_for=0)
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == "its agent did not say hello in time"


# --- silence and loss -----------------------------------------------------------------------------------


def test_silence_counts_only_while_the_api_is_up(machines: Fleet) -> None:
    instance_id = machines.ready(new_id()).instance_id
    machines.set(instance_id, ready_at=func.clock_timestamp())
    machines.silence(instance_id, 600)
    machines.api(up_for=3600, silent_for=600)
    assert machines.look(instance_id) == "ready", "the API has been down since the last heartbeat"
    machines.api(up_for=2, silent_for=0)
    assert machines.look(instance_id) == "ready", "the API came back just now: a full grace period"
    machines.api(up_for=6, silent_for=0)
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == "lost: its agent was silent for 6 s"


def test_a_machine_that_its_provider_ended_is_terminated(machines: Fleet) -> None:
    instance_id = machines.ready().instance_id
    machines.host.provider.terminate(machines.row(instance_id).tag)
    assert machines.look(instance_id) == "terminating"
    assert machines.row(instance_id).status_reason == "the provider ended it"
    machines.end(instance_id)


# --- reconciling ----------------------------------------------------------------------------------------


def test_only_machines_that_no_living_row_explains_are_ended(machines: Fleet) -> None:
    explained = machines.ready().instance_id
    forgotten = machines.ready().instance_id
    machines.set(forgotten, status="terminated", terminated_at=func.clock_timestamp(), due_at=None)
    machines.host.provider.create("nobody-asked", "local.cpu", {"MODELYARD_INSTANCE_TOKEN": "x"})
    assert fleet.reconcile(machines.context) == 2
    assert until(lambda: [each.tag for each in machines.host.provider.list()] == [machines.row(explained).tag])
    assert fleet.reconcile(machines.context) == 0
    assert machines.look(explained) == "ready"


# --- agents ---------------------------------------------------------------------------------------------


def test_an_instance_has_no_token_before_the_provider_is_asked(machines: Fleet) -> None:
    instance_id = machines.request()
    hand = machines.hand(instance_id, new_token("myi"))
    assert hand.client.post("/agent/v1/hello", content=b"{}").status_code == 401
    assert machines.row(instance_id).token_hash is None


def test_the_machine_gets_the_token_whose_hash_is_kept(machines: Fleet, host: Host) -> None:
    instance_id = machines.request()
    machines.look(instance_id)
    row = machines.row(instance_id)
    machine = host.home / "instances" / row.tag
    assert until((machine / "pids").exists)
    assert hash_token((machine / "environment").read_text()) == row.token_hash


def test_a_foreign_scope_sees_no_instance(machines: Fleet, make_tenant: Callable[[], Any]) -> None:
    instance_id = machines.request()
    stranger = make_tenant()
    with machines.context.database.unit_of_work() as session:
        act_as(session, stranger.organization_id)
        assert service.list_instances(session, Scope(stranger.organization_id)) == []
        with pytest.raises(InstanceNotFound):
            service.get_instance(session, Scope(stranger.organization_id), instance_id)
