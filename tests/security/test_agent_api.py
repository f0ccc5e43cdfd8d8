"""One instance's token against another instance's assignments, of its own organization and of another."""

import hashlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from backend.core import wire
from backend.core.storage import ObjectStore
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand

pytestmark = pytest.mark.integration


@pytest.fixture
def working(
    ready_instance: Callable[..., Hand], submit: Callable[..., Any], run_jobs: Callable[..., None]
) -> Callable[[Tenant], tuple[Hand, wire.Assignment]]:
    """An instance of a tenant with an attempt on it."""

    def make(tenant: Tenant) -> tuple[Hand, wire.Assignment]:
        hand = ready_instance(tenant)
        submit(tenant, f"nap-{uuid4().hex[:8]}")
        run_jobs(tenant)
        (assignment,) = hand.sync().assignments
        hand.sync(wire.Started(pid=1), assignment=assignment, elapsed=0.1)
        return hand, assignment

    return make


def calls(client: TestClient, assignment: wire.Assignment, content: bytes) -> dict[str, int]:
    digest = hashlib.sha256(content).hexdigest()
    url, epoch = f"/agent/v1/assignments/{assignment.id}", {"epoch": assignment.epoch}
    batch = msgspec.json.encode({"sha256": [digest]})
    return {
        "read": client.get(f"{url}/blobs/{digest}", params=epoch).status_code,
        "batch": client.post(f"{url}/blobs/batch", params=epoch, content=batch).status_code,
        "write": client.put(f"{url}/blobs/{digest}", params=epoch, content=content).status_code,
        "usage": client.post(f"{url}/usage-segments/{uuid4()}", params=epoch, content=b"{}").status_code,
    }


@pytest.mark.parametrize("same_organization", [True, False])
def test_an_instance_touches_no_other_instances_assignment(
    app: FastAPI,
    make_tenant: Callable[[], Tenant],
    ready_instance: Callable[..., Hand],
    working: Callable[[Tenant], tuple[Hand, wire.Assignment]],
    same_organization: bool,  # noqa: FBT001 - parametrized
) -> None:
    victim = make_tenant()
    theirs, assignment = working(victim)
    hand = ready_instance(victim if same_organization else make_tenant())
    content = b"secret" + assignment.id.encode()
    storage: ObjectStore = app.state.storage
    storage.put_blob(victim.organization_id, hashlib.sha256(content).hexdigest(), [content])
    assert set(calls(hand.client, assignment, content).values()) == {404}
    reply = hand.sync(wire.Ended(outcome="completed"), assignment=assignment, elapsed=5.0)
    assert reply.accepted == {}
    assert reply.stale == [assignment.id]
    assert reply.assignments == []
    (still,) = theirs.sync(wire.Progress(step=1, total_steps=2, phase="on"), assignment=assignment).assignments
    assert still.desired == "run"


def test_a_blob_that_is_no_input_is_not_read(
    app: FastAPI, make_tenant: Callable[[], Tenant], working: Callable[[Tenant], tuple[Hand, wire.Assignment]]
) -> None:
    tenant = make_tenant()
    hand, assignment = working(tenant)
    content = b"another dataset of the same organization"
    storage: ObjectStore = app.state.storage
    storage.put_blob(tenant.organization_id, hashlib.sha256(content).hexdigest(), [content])
    answers = calls(hand.client, assignment, content)
    assert (answers["read"], answers["batch"]) == (404, 404)
    wrong = hand.client.put(
        f"/agent/v1/assignments/{assignment.id}/blobs/{'0' * 64}", params={"epoch": assignment.epoch}, content=b"x"
    )
    assert wrong.status_code == 422
    stale = hand.client.put(
        f"/agent/v1/assignments/{assignment.id}/blobs/{'0' * 64}", params={"epoch": assignment.epoch + 1}, content=b"x"
    )
    assert stale.status_code == 409


@pytest.mark.parametrize("digest", ["..", "%2e%2e", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "%00", "..%2f" * 20])
def test_a_digest_that_is_none(
    make_tenant: Callable[[], Tenant], working: Callable[[Tenant], tuple[Hand, wire.Assignment]], digest: str
) -> None:
    hand, assignment = working(make_tenant())
    url = f"/agent/v1/assignments/{assignment.id}/blobs/{digest}"
    for method in ("GET", "PUT"):
        answer = hand.client.request(method, url, params={"epoch": assignment.epoch}, content=b"x")
        assert answer.status_code in {404, 405, 422}, answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 100_000,
        b'{"reports":' + b"[" * 5000,
        b'{"more":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"\xff\xfe",
        b'{"interruption_notice":"\xff"}',
        b'{"running":[{"assignment_id":"x","epoch":1,"elapsed_seconds":1e999}]}',
    ],
)
def test_an_agents_nonsense_is_a_4xx(
    make_tenant: Callable[[], Tenant], ready_instance: Callable[..., Hand], body: bytes
) -> None:
    answer = ready_instance(make_tenant()).client.post("/agent/v1/sync", content=body)
    assert answer.status_code == 422, answer.text


def test_heartbeats_of_strange_assignments_are_only_stale(
    make_tenant: Callable[[], Tenant], ready_instance: Callable[..., Hand]
) -> None:
    hand = ready_instance(make_tenant())
    said = wire.SyncRequest(
        running=[
            wire.RunningAssignment(assignment_id=name, epoch=2**62, elapsed_seconds=-1.0)
            for name in ("", "x", "\x00", str(uuid4()), "a" * 5000)
        ]
    )
    reply = hand.send(said)
    assert len(reply.stale) == 5
