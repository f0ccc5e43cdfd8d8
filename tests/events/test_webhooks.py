"""From a status change to a signed message at somebody's server."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select

from backend.core.lifecycle import OutboxEvent, transition
from backend.core.settings import EventSettings, SmtpSettings
from backend.events.models import EventSubscription
from backend.jobs import states
from backend.jobs.models import Job
from tests.events.conftest import Teller
from tests.events.receiver import Got, Receiver, mailbox

pytestmark = pytest.mark.integration


def is_signed(got: Got, secret: str) -> bool:
    """As the specification says, and with nothing of ours."""
    lowered = {name.lower(): value for name, value in got.headers.items()}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{lowered['webhook-id']}.{lowered['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    fresh = abs(time.time() - int(lowered["webhook-timestamp"])) < 60
    return fresh and f"v1,{expected}" in lowered["webhook-signature"].split()


def test_a_job_is_told_from_beginning_to_end_in_order(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url)
    job_id = teller.job("starting", "running", "completed", name="first")
    teller.tell()
    assert receiver.types() == ["job.queued", "job.starting", "job.running", "job.completed"]
    assert all(is_signed(got, made["secret"]) for got in receiver.got)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 4
    last = receiver.got[-1]
    assert last.path == "/hook?x=1"
    assert last.json["data"] | {"organization_id": ""} == {
        "organization_id": "",
        "project_id": str(teller.tenant.project_id),
        "resource": {"kind": "job", "id": str(job_id), "name": "first", "job_kind": "sleep"},
        "from": "running",
        "to": "completed",
        "reason": "now completed",
        "actor": "controller",
    }
    newest = teller.log()[0]
    assert (newest["state"], newest["attempt_count"], newest["last_response_status"]) == ("delivered", 1, 200)
    assert newest["event_id"] == last.headers["webhook-id"]


def break_off(teller: Teller, job_id: UUID) -> None:
    """A status change whose transaction fails."""
    with teller.app.unit_of_work(teller.tenant.scope) as session:
        job = session.get_one(Job, job_id)
        transition(session, "job", job, "starting", states.JOB, reason="never", actor="controller")
        session.flush()
        raise ZeroDivisionError


def test_the_outbox_is_empty_afterwards_and_a_rolled_back_change_is_not_told(
    teller: Teller, receiver: Receiver
) -> None:
    teller.subscribe(receiver.url)
    job_id = teller.job()
    with pytest.raises(ZeroDivisionError):
        break_off(teller, job_id)
    teller.tell()
    assert receiver.types() == ["job.queued"]
    with teller.app.unit_of_work(teller.tenant.scope) as session:
        assert session.scalars(select(OutboxEvent)).all() == []


def test_only_what_was_subscribed_to_and_only_of_its_project(teller: Teller, receiver: Receiver) -> None:
    other = teller.client.post("/api/v1/projects", json={"name": "other"}).json()["id"]
    teller.subscribe(receiver.url, "job.completed", "endpoint.*")
    teller.subscribe(receiver.url, "*", project_id=other)
    teller.job("starting", "running", "completed")
    teller.tell()
    assert receiver.types() == ["job.completed"]


def test_a_failure_is_tried_again_and_holds_back_what_follows(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url)
    receiver.answers.extend([500, 302])
    receiver.headers["Location"] = receiver.url
    job_id = teller.job("starting")
    other_id = teller.job()
    teller.tell()
    # Another job's message is not held back.
    first, other = (
        next(g for g in receiver.got if g.json["data"]["resource"]["id"] == str(i)) for i in (job_id, other_id)
    )
    assert len(receiver.got) == 2
    waiting = teller.log(state="pending")
    assert len(waiting) + len(teller.log(state="delivered")) == 3
    receiver.answers.clear()
    teller.hurry()
    teller.tell()
    assert teller.log(state="pending") == []
    mine = [got for got in receiver.got if got.json["data"]["resource"]["id"] == str(job_id)]
    assert [got.json["type"] for got in mine][-1] == "job.starting"
    again = [got for got in receiver.got if got.headers["webhook-id"] == first.headers["webhook-id"]]
    assert len(again) == 2
    assert again[0].body == again[1].body
    assert all(is_signed(got, made["secret"]) for got in again)
    retried = next(each for each in teller.log() if each["event_id"] == first.headers["webhook-id"])
    detail = teller.client.get(f"/api/v1/event-deliveries/{retried['id']}").json()
    assert [each["response_status"] for each in detail["attempts"]][-1] == 200
    assert detail["attempts"][0]["response_text"] == "noted�!"
    assert detail["payload"] == first.json
    assert other.json["type"] == "job.queued"


def test_redirects_are_not_followed(teller: Teller, receiver: Receiver) -> None:
    teller.subscribe(receiver.url)
    receiver.answers.append(302)
    receiver.headers["Location"] = receiver.url
    teller.job()
    teller.tell()
    assert len(receiver.got) == 1
    assert teller.log()[0]["last_error"] == "answered 302: redirects are not followed"


def test_a_receiver_that_hangs_is_cut_off(teller: Teller, receiver: Receiver) -> None:
    teller.subscribe(receiver.url)
    receiver.answers.append(6.0)
    teller.job()
    began = time.monotonic()
    teller.tell()
    assert time.monotonic() - began < 5
    assert teller.log()[0]["last_error"] == "no answer within 2 seconds"


def test_what_fails_for_too_long_is_given_up_and_the_next_one_goes(
    make_teller: Callable[..., Teller], receiver: Receiver
) -> None:
    teller = make_teller(events=EventSettings(allowed_hosts=("127.0.0.1",), give_up_seconds=1))
    teller.subscribe(receiver.url)
    receiver.answers.append(503)
    teller.job("starting")
    teller.tell()
    by_type = {each["event_type"]: each["state"] for each in teller.log()}
    assert by_type == {"job.queued": "failed", "job.starting": "delivered"}


def test_a_dead_receiver_is_disabled_with_a_reason_and_can_be_taken_up_again(
    teller: Teller, receiver: Receiver
) -> None:
    made = teller.subscribe(receiver.url)
    path = f"/api/v1/event-subscriptions/{made['id']}"
    receiver.answers.extend([500] * 3)
    teller.job("starting")
    for _ in range(3):
        teller.tell()
        teller.hurry()
    found = teller.client.get(path).json()
    assert found["disabled_reason"] == "3 attempts in a row failed, the last: answered 500"
    assert {each["state"] for each in teller.log()} == {"failed"}
    teller.job()
    teller.tell()
    assert len(receiver.got) == 3
    refused = teller.client.post(f"{path}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "event_subscription_disabled")
    again = teller.client.patch(path, json={"enabled": True}).json()
    assert (again["disabled_at"], again["failures"]) == (None, 0)
    teller.job(name="after")
    teller.tell()
    assert receiver.got[-1].json["data"]["resource"]["name"] == "after"


def test_410_disables_at_once(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url)
    receiver.answers.append(410)
    teller.job("starting")
    teller.tell()
    found = teller.client.get(f"/api/v1/event-subscriptions/{made['id']}").json()
    assert found["disabled_at"] is not None
    assert len(receiver.got) == 1


def test_replay_sends_the_same_message_again(teller: Teller, receiver: Receiver) -> None:
    teller.subscribe(receiver.url, "job.queued")
    teller.job()
    teller.tell()
    first = teller.log()[0]
    answer = teller.client.post(f"/api/v1/event-deliveries/{first['id']}/replay")
    assert answer.status_code == 202
    assert answer.json()["replay_of"] == first["id"]
    pending = teller.client.post(f"/api/v1/event-deliveries/{answer.json()['id']}/replay")
    assert (pending.status_code, pending.json()["code"]) == (409, "event_delivery_pending")
    teller.tell()
    assert len(receiver.got) == 2
    assert receiver.got[0].body == receiver.got[1].body
    assert receiver.got[0].headers["webhook-id"] == receiver.got[1].headers["webhook-id"]


def test_a_test_event_and_a_new_secret(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url, "endpoint.failed")
    path = f"/api/v1/event-subscriptions/{made['id']}"
    secret = teller.client.post(f"{path}/rotate-secret").json()["secret"]
    assert secret != made["secret"]
    assert teller.client.post(f"{path}/test").status_code == 202
    teller.tell()
    assert receiver.types() == ["test.sent"]
    assert is_signed(receiver.got[0], secret)
    assert not is_signed(receiver.got[0], made["secret"])


def test_the_secret_is_told_once_and_kept_encrypted(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url)
    assert made["secret"].startswith("whsec_")
    assert "secret" not in teller.client.get(f"/api/v1/event-subscriptions/{made['id']}").json()
    with teller.app.unit_of_work(teller.tenant.scope) as session:
        row = session.get_one(EventSubscription, made["id"])
        assert row.secret_encrypted is not None
        assert base64.b64decode(made["secret"].removeprefix("whsec_")) not in row.secret_encrypted


def test_deleting_takes_the_log_along(teller: Teller, receiver: Receiver) -> None:
    made = teller.subscribe(receiver.url)
    teller.job()
    teller.tell()
    assert teller.client.delete(f"/api/v1/event-subscriptions/{made['id']}").status_code == 204
    assert teller.log() == []
    assert teller.client.get(f"/api/v1/event-subscriptions/{made['id']}").status_code == 404


def test_email_is_off_without_a_mail_server_and_sent_with_one(make_teller: Callable[..., Teller]) -> None:
    off = make_teller().client.post(
        "/api/v1/event-subscriptions",
        json={"channel": "email", "target": "ada@example.com", "event_types": ["job.failed"]},
    )
    assert (off.status_code, off.json()["code"]) == (409, "email_not_configured")
    with mailbox() as server:
        smtp = SmtpSettings(host="127.0.0.1", port=server.server_address[1], encryption="none", sender="my@example.com")
        teller = make_teller(smtp=smtp)
        made = teller.subscribe("ada@example.com", "job.failed", channel="email")
        assert made["secret"] is None
        teller.job("starting", "failed", name="broken")
        teller.tell()
    assert len(server.letters) == 1
    assert "To: ada@example.com" in server.letters[0]
    assert "Subject: [Modelyard] job broken: failed" in server.letters[0]
    assert teller.log()[0]["state"] == "delivered"
