"""Rooms of the client against the real API: what is written is read again, and answers fit their types."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from backend.core.db import Database
from backend.fleet.models import InstanceType
from modelyard import ApiError, Client
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


def test_members_come_change_and_go(client: Client) -> None:
    added = client.members.add(f"{id(client)}@example.org", "N. N.", "viewer")
    who = added["user_id"] if "user_id" in added else added["member"]["user_id"]
    assert client.members.change_role(who, "developer")["role"] == "developer"
    assert client.members.get(who)["role"] == "developer"
    assert who in {one["user_id"] for one in client.members.list()}
    client.members.remove(who)
    with pytest.raises(ApiError) as gone:
        client.members.get(who)
    assert gone.value.code == "member_not_found"


def test_keys_are_made_listed_and_revoked(client: Client, api_url: str) -> None:
    made = client.api_keys.create("notebook", role="viewer", scopes=["read"], tags={"team": "a"})
    assert made.token is not None
    with Client(api_url, made.token) as other:
        assert other.me()["organization"]["id"] == client.me()["organization"]["id"]
        client.api_keys.revoke(made.id)
        with pytest.raises(ApiError) as refused:
            other.me()
    assert refused.value.status == 401
    assert made.id not in {one.id for one in client.api_keys.list()}
    (kept,) = [one for one in client.api_keys.list(include_revoked=True) if one.id == made.id]
    assert (kept.revoked_at is not None, kept.token, kept.tags) == (True, None, {"team": "a"})
    assert "api_key.revoke" in {one["action"] for one in client.audit.events()}
    assert client.audit.verify()["broken_at"] is None


def test_budgets_limit_and_are_taken_away(client: Client, tenant: Tenant) -> None:
    made = client.budgets.create("50.25", project_id=str(tenant.project_id), hold_at_limit=True)
    assert (made.amount, made.spent, made.reached) == (Decimal("50.25"), Decimal(0), False)
    assert client.budgets.update(made.id, amount=Decimal(60), alert_percents=[90]).alert_percents == [90]
    assert client.budgets.get(made.id).amount == Decimal(60)
    assert [one.id for one in client.budgets.list()] == [made.id]
    assert list(client.budgets.holds()) == []
    with pytest.raises(ApiError) as unknown:
        client.budgets.lift(made.id)
    assert unknown.value.code == "spending_hold_not_found"
    client.budgets.delete(made.id)
    assert list(client.budgets.list()) == []
    assert Decimal(client.costs.invoice("2026-01")["total"]) == 0


def test_subscriptions_are_told_and_their_log_is_read(client: Client) -> None:
    assert "job.completed" in client.subscriptions.event_types()
    made = client.subscriptions.create("https://receiver.invalid/", ["job.*"], description="ops")
    assert made.secret is not None
    assert client.subscriptions.rotate_secret(made.id) != made.secret
    sent = client.subscriptions.test(made.id)
    assert [one.id for one in client.subscriptions.deliveries(subscription_id=made.id)] == [sent.id]
    assert client.subscriptions.delivery(sent.id).payload
    assert client.subscriptions.update(made.id, enabled=False).disabled_at is not None
    assert client.subscriptions.get(made.id).secret is None
    assert [one.id for one in client.subscriptions.list()] == [made.id]
    with pytest.raises(ApiError):
        client.subscriptions.replay(made.id)
    client.subscriptions.delete(made.id)
    assert list(client.subscriptions.list()) == []


def test_a_version_is_reviewed_tagged_and_traced(client: Client, register: Callable[..., str]) -> None:
    version = register("reviewed")
    assert client.models.approve(version, "good enough").approval_status == "approved"
    assert client.models.reject(version, "not so good").approval_status == "rejected"
    assert [one["reason"] for one in client.models.events(version)] == ["good enough", "not so good"]
    assert client.models.tag_version(version, {"stage": "old"}).tags == {"stage": "old"}
    model = next(client.models.list(name="reviewed"))
    assert client.models.update(model.id, description="reads digits").description == "reads digits"
    with pytest.raises(ApiError) as none:
        client.models.evaluation(version)
    assert none.value.status == 404
    assert {node["kind"] for node in client.lineage.read("model_version", version)["nodes"]} == {"model_version"}


def test_projects_and_datasets_are_described_and_deleted(client: Client) -> None:
    project = client.projects.create("described")
    assert client.projects.update(project.id, description="of all", tags={"a": "b"}).tags == {"a": "b"}
    dataset = client.datasets.create(project.id, "empty")
    assert client.datasets.update(dataset.id, description="nothing yet").description == "nothing yet"
    client.datasets.delete(dataset.id)
    client.projects.delete(project.id)
    assert project.id not in {one.id for one in client.projects.list()}


def test_jobs_tell_their_changes_and_estimates_start_nothing(
    client: Client, tenant: Tenant, register: Callable[..., str], controller_database: Database
) -> None:
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name="local.cpu", provider="local", vcpus=1, memory_bytes=2**30, description=""))
    job = client.jobs.sleep(str(tenant.project_id), "nap")
    assert client.jobs.events(job.id)[0]["to_status"] == "queued"
    assert list(client.jobs.checkpoints(job.id)) == []
    found = client.compression_jobs.estimate(str(tenant.project_id), model_version_id=register())
    assert (found.like_jobs, found.seconds, found.amount) == (0, None, None)
    with pytest.raises(ApiError) as unknown:
        client.training_jobs.estimate(str(tenant.project_id), dataset_version_id=job.id)
    assert unknown.value.code == "dataset_version_not_found"
    assert [one.name for one in client.jobs.list()] == ["nap"]
    assert "local.cpu" in {one["name"] for one in client.instances.types()}
    assert list(client.instances.list(include_terminated=True)) == []


def test_an_endpoint_is_changed_and_looked_into(
    client: Client, tenant: Tenant, register: Callable[..., str], controller_database: Database
) -> None:
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name="local.cpu", provider="local", vcpus=1, memory_bytes=2**30, description=""))
    version = register()
    variants = [{"name": "a", "model_version_id": version, "weight": 1}]
    made = client.endpoints.create(str(tenant.project_id), "looked-into", variants=variants)
    assert client.endpoints.update(made.id, tags={"a": "b"}).tags == {"a": "b"}
    assert [one.number for one in client.endpoints.configs(made.id)] == [1]
    assert list(client.endpoints.replicas(made.id)) == []
    assert client.endpoints.events(made.id)[0]["to_status"] == "creating"
    assert client.endpoints.traffic(made.id)["variants"] == []
    with pytest.raises(ApiError) as refused:
        client.endpoints.set_config(made.id, variants=[{"name": "a", "model_version_id": made.id, "weight": 1}])
    assert refused.value.status in {404, 409, 422}
