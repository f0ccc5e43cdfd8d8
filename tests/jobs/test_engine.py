"""A job's life, told over the agents' HTTP contract: placement, reports, ends, retries, the bill."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from backend.billing.models import UsageRecord
from backend.core import wire
from backend.core.db import Database
from backend.fleet.models import Assignment, AssignmentHeartbeat, Instance, InstanceHeartbeat
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand, api_has_been_up

pytestmark = pytest.mark.integration

Running = tuple[dict[str, Any], Hand, wire.Assignment]

FILE = wire.FileRef(name="state.json", sha256="a" * 64, size_bytes=3)


@pytest.fixture
def started(
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
) -> Running:
    """A job whose start was accepted."""
    hand = ready_instance(tenant)
    job = submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    run_jobs(tenant)
    return job, hand, assignment


def usage(database: Database, tenant: Tenant) -> list[UsageRecord]:
    with database.unit_of_work() as session:
        return list(
            session.scalars(
                select(UsageRecord)
                .where(UsageRecord.organization_id == tenant.organization_id)
                .order_by(UsageRecord.from_at)
            )
        )


def let_time_pass(database: Database, hand: Hand, seconds: int) -> None:
    """Make every heartbeat of the instance older, as silence would."""
    with database.unit_of_work() as session:
        api_has_been_up(session)
        for model, column in (
            (InstanceHeartbeat, InstanceHeartbeat.instance_id == hand.instance_id),
            (AssignmentHeartbeat, AssignmentHeartbeat.organization_id.is_not(None)),
        ):
            session.execute(
                update(model).where(column).values(received_at=model.received_at - timedelta(seconds=seconds))
            )


def rewind_start(database: Database, assignment: wire.Assignment, seconds: int) -> None:
    """Make the accepted start older, as running would."""
    with database.unit_of_work() as session:
        row = session.get_one(Assignment, UUID(assignment.id))
        assert row.started_at is not None
        row.started_at -= timedelta(seconds=seconds)


def test_completes_and_is_billed_once(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
    controller_database: Database,
) -> None:
    job, hand, assignment = started
    assert assignment.attempt is not None
    assert assignment.attempt.entrypoint == "worker.sleeping"
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "running"
    rewind_start(controller_database, assignment, 7)
    hand.sync(wire.Progress(step=1, total_steps=2, phase="sleeping"), assignment=assignment, elapsed=1.0)
    hand.sync(
        wire.ResultSaved(files=[FILE], summary={"slept": 2}),
        wire.Ended(outcome="completed"),
        assignment=assignment,
        elapsed=2.5,
    )
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (found["status"], found["output"]) == ("completed", {"summary": {"slept": 2}})
    assert found["first_step_at"] is not None
    (record,) = usage(controller_database, tenant)
    assert record.quantity == Decimal("2.5")
    assert (record.to_at - record.from_at).total_seconds() == 2.5
    assert (record.source_kind, record.resource_name, record.sku) == ("attempt", "nap", "instance:test.cpu:on-demand")
    run_jobs(tenant)
    assert len(usage(controller_database, tenant)) == 1


def test_a_replayed_report_changes_nothing(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
) -> None:
    job, hand, assignment = started
    chunk = wire.Metrics(series=[wire.MetricSeries(name="loss", steps=[1, 2], values=[1.0, 0.5], times=[1.0, 2.0])])
    report = wire.Report(assignment_id=assignment.id, epoch=1, seq=2, elapsed_seconds=1, body=chunk)
    for _ in range(3):
        assert hand.send(wire.SyncRequest(reports=[report])).accepted == {assignment.id: 2}
    metrics = client.get(f"/api/v1/jobs/{job['id']}/metrics").json()
    assert metrics["series"]["loss"] == {"steps": [1, 2], "values": [1.0, 0.5], "times": [1.0, 2.0]}
    run_jobs(tenant)


def test_a_gap_in_the_reports_is_not_accepted(started: Running) -> None:
    _, hand, assignment = started
    ahead = wire.Report(
        assignment_id=assignment.id, epoch=1, seq=9, elapsed_seconds=1, body=wire.Ended(outcome="completed")
    )
    assert hand.send(wire.SyncRequest(reports=[ahead])).accepted == {assignment.id: 1}


def test_logs_are_read_back_in_pages_and_by_tail(client: TestClient, started: Running) -> None:
    job, hand, assignment = started
    for number in range(3):
        hand.sync(wire.Logs(lines=[f"line {number}"], times=[float(number)]), assignment=assignment)
    page = client.get(f"/api/v1/jobs/{job['id']}/logs").json()
    assert [line["text"] for line in page["lines"]] == ["line 0", "line 1", "line 2"]
    assert client.get(f"/api/v1/jobs/{job['id']}/logs", params={"after": page["next_after"]}).json()["lines"] == []
    tail = client.get(f"/api/v1/jobs/{job['id']}/logs", params={"tail": True}).json()
    assert tail["lines"] == page["lines"]


def test_stop_is_told_to_the_agent_and_ends_stopped(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
) -> None:
    job, hand, assignment = started
    assert client.post(f"/api/v1/jobs/{job['id']}/stop").status_code == 202
    run_jobs(tenant)
    assert [each.desired for each in hand.sync().assignments] == ["stop"]
    hand.sync(wire.Ended(outcome="stopped"), assignment=assignment, elapsed=1)
    run_jobs(tenant)
    assert client.get(f"/api/v1/jobs/{job['id']}").json()["status"] == "stopped"
    again = client.post(f"/api/v1/jobs/{job['id']}/stop")
    assert (again.status_code, again.json()["code"]) == (409, "job_already_finished")


def test_a_queued_job_stops_at_once(
    client: TestClient, tenant: Tenant, submit: Callable[..., dict[str, Any]], ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
) -> None:  # fmt: skip
    ready_instance(tenant, "other.cpu")
    job = submit(tenant, instance_type="other.cpu", name="never")
    client.post(f"/api/v1/jobs/{job['id']}/stop")
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (found["status"], found["attempt_count"]) == ("stopped", 0)


def test_an_interruption_ends_the_attempt_not_the_job(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
    ready_instance: Callable[..., Hand],
) -> None:
    job, hand, assignment = started
    failure = wire.Failure(failure_class="interruption", reason="the agent restarted")
    hand.sync(
        wire.CheckpointSaved(step=5, files=[FILE]),
        wire.Ended(outcome="failed", failure=failure),
        assignment=assignment,
        elapsed=3,
    )
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert found["status"] == "queued"
    assert found["status_reason"] == "the agent restarted; resumes from step 5"
    second = ready_instance(tenant)
    run_jobs(tenant)
    (again,) = second.sync().assignments
    assert again.attempt is not None
    assert again.attempt.attempt_number == 2
    assert again.attempt.checkpoint == wire.CheckpointRef(step=5, files=[FILE])


def test_user_code_fails_at_once_with_its_evidence(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
) -> None:
    job, hand, assignment = started
    failure = wire.Failure(failure_class="user_code", reason="ValueError: no", exit_code=1, log_tail=["boom"])
    hand.sync(wire.Ended(outcome="failed", failure=failure), assignment=assignment, elapsed=1)
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (found["status"], found["attempt_count"]) == ("failed", 1)
    assert (found["failure"]["failure_class"], found["failure"]["log_tail"]) == ("user_code", ["boom"])


def test_attempts_are_exhausted(
    client: TestClient,
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
) -> None:
    hand = ready_instance(tenant)
    job = submit(tenant, max_attempts=1)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    failure = wire.Failure(failure_class="platform", reason="the sandbox could not start")
    hand.sync(wire.Ended(outcome="failed", failure=failure), assignment=assignment)
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert found["status"] == "failed"
    assert found["failure"]["reason"] == "the sandbox could not start (attempt 1 of 1)"


def test_a_silent_instance_is_lost_and_billed_to_its_last_heartbeat(
    client: TestClient,
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
    controller_database: Database,
) -> None:
    job, hand, assignment = started
    rewind_start(controller_database, assignment, 100)
    hand.sync(assignment=assignment, elapsed=42.0)
    let_time_pass(controller_database, hand, 60)
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert found["status"] in ("queued", "provisioning")
    (attempt,) = client.get(f"/api/v1/jobs/{job['id']}/attempts").json()["items"]
    assert (attempt["status"], attempt["failure"]["failure_class"]) == ("interrupted", "interruption")
    (record,) = usage(controller_database, tenant)
    assert record.quantity == Decimal(42)
    reply = hand.sync(wire.Progress(step=9, total_steps=9, phase="late"), assignment=assignment, elapsed=50)
    assert reply.stale == [assignment.id]


def test_never_billed_beyond_now(
    tenant: Tenant,
    started: Running,
    run_jobs: Callable[..., None],
    controller_database: Database,
) -> None:
    _, hand, assignment = started
    hand.sync(
        wire.ResultSaved(files=[FILE], summary={}),
        wire.Ended(outcome="completed"),
        assignment=assignment,
        elapsed=9_999,
    )
    run_jobs(tenant)
    (record,) = usage(controller_database, tenant)
    assert record.quantity < 60


def test_waits_for_quota_and_says_so(
    client: TestClient,
    tenant: Tenant,
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    run_jobs: Callable[..., None],
    set_quota: Callable[..., None],
) -> None:
    set_quota(tenant, "*", 1)
    ready_instance(tenant)
    submit(tenant, "first")
    run_jobs(tenant)
    second = submit(tenant, "second")
    run_jobs(tenant)
    found = client.get(f"/api/v1/jobs/{second['id']}").json()
    assert found["status"] == "queued"
    assert found["status_reason"] == "waiting for quota: 1 of 1 instances are in use"


def test_a_token_of_a_terminated_instance_is_refused(
    tenant: Tenant, ready_instance: Callable[..., Hand], controller_database: Database
) -> None:
    hand = ready_instance(tenant)
    with controller_database.unit_of_work() as session:
        row = session.get_one(Instance, hand.instance_id)
        row.status, row.terminated_at = "terminated", row.ready_at
    answer = hand.client.post("/agent/v1/sync", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (401, "instance_token_unknown")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"reports": [{"seq": "x"}]}', b"\xff\xfe", b'{"running": 3}'])
def test_garbage_from_an_agent_is_a_clear_4xx(tenant: Tenant, ready_instance: Callable[..., Hand], body: bytes) -> None:
    answer = ready_instance(tenant).client.post("/agent/v1/sync", content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed_message")


def test_an_agent_reads_only_blobs_of_its_own_assignment(
    started: Running,
    make_tenant: Callable[[], Tenant],
    ready_instance: Callable[..., Hand],
) -> None:
    _, hand, assignment = started
    path = f"/agent/v1/assignments/{assignment.id}/blobs/{'b' * 64}?epoch=1"
    assert hand.client.get(path).json()["code"] == "blob_not_found"
    assert hand.client.get(path.replace("epoch=1", "epoch=2")).json()["code"] == "stale_epoch"
    foreign = ready_instance(make_tenant())
    assert foreign.client.get(path).json()["code"] == "assignment_not_found"


def test_results_are_uploaded_under_their_digest(started: Running) -> None:
    _, hand, assignment = started
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path = f"/agent/v1/assignments/{assignment.id}/blobs/{digest}?epoch=1"
    assert hand.client.put(path, content=b"abc").json() == {"size_bytes": 3}
    wrong = hand.client.put(path, content=b"abd")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "checksum_mismatch")
    stale = hand.client.put(path.replace("epoch=1", "epoch=3"), content=b"abc")
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_epoch")


def test_jobs_of_another_organization_are_not_found(
    started: Running,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
) -> None:
    job, _, _ = started
    stranger = make_client(make_tenant())
    for path in ("", "/attempts", "/events", "/metrics", "/logs", "/checkpoints"):
        assert stranger.get(f"/api/v1/jobs/{job['id']}{path}").status_code == 404
    assert stranger.post(f"/api/v1/jobs/{job['id']}/stop").status_code == 404
    assert stranger.get("/api/v1/jobs").json()["items"] == []
