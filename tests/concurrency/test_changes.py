"""Changes of one thing at once. Fields that are not named keep what others wrote; of two writers of the same field
the last wins; whoever finds the thing gone is told 404, whoever comes too late 409. Nobody is answered 5xx.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from backend.audit.models import AuditEvent
from backend.billing.models import UsageRecord
from backend.core import wire
from backend.core.db import Database
from backend.core.lifecycle import Event
from backend.core.storage import ObjectStore
from backend.datasets.models import Blob, Dataset, DatasetFile, DatasetVersion, Upload, UploadPart
from backend.endpoints.models import Endpoint, EndpointConfig
from backend.jobs.models import Attempt, Job
from backend.projects.models import Project
from tests.concurrency.engine import FILE, control, controllers, make_due
from tests.concurrency.place import Answer, Place, at_once, one_wins
from tests.datasets.files import Uploader, archive, digits
from tests.registry.test_service import register

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("count", [2, 8])]
Call = Callable[[], Answer]


def calls(place: Place, *requests: tuple[str, str, Any]) -> list[Call]:
    """Each (method, path, body) by a client of its own."""

    def call(client: Any, method: str, path: str, body: Any) -> Call:
        return lambda: client.request(method, f"/api/v1{path}", json=body)

    return [call(client, *request) for client, request in zip(place.clients(len(requests)), requests, strict=True)]


def statuses(answers: list[Answer]) -> list[int]:
    assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
    return [answer.status_code for answer in answers]


def chain_of(database: Database, resource_id: UUID | str) -> list[str]:
    """The statuses a thing went through; each event must start where the one before ended."""
    with database.unit_of_work() as session:
        events = session.scalars(select(Event).where(Event.resource_id == resource_id).order_by(Event.at)).all()
    for before, after in pairwise(events):
        assert after.from_status == before.to_status
    return [event.to_status for event in events]


@pytest.fixture
def changeable(place: Place) -> dict[str, str]:
    """Paths of things that have a description and tags, or amounts and tags."""
    (client,) = place.clients(1)
    budget = client.post("/api/v1/budgets", json={"amount": "5", "alert_percents": [], "hold_at_limit": False}).json()
    with place.app_database.unit_of_work(place.tenant.scope) as session:
        model_id = register(session, place.tenant).model_id
    return {
        "project": f"/projects/{client.post('/api/v1/projects', json={'name': 'p'}).json()['id']}",
        "dataset": f"/datasets/{place.new_dataset()}",
        "model": f"/models/{model_id}",
        "budget": f"/budgets/{budget['id']}",
    }


@pytest.mark.parametrize("kind", ["project", "dataset", "model", "budget"])
def test_changes_of_other_fields_stay_and_of_the_same_the_last_wins(
    place: Place, count: int, changeable: dict[str, str], kind: str
) -> None:
    path = changeable[kind]
    field, values = ("amount", ["11", "12"]) if kind == "budget" else ("description", ["one", "other"])
    bodies = [{field: values[number % 4 // 2]} if number % 2 else {"tags": {"by": "me"}} for number in range(count)]
    assert statuses(at_once(calls(place, *(("PATCH", path, body) for body in bodies)))) == [200] * count
    kept = place.clients(1)[0].get(f"/api/v1{path}").json()
    assert kept["tags"] == {"by": "me"}
    assert str(kept[field]) in values


@pytest.mark.parametrize("kind", ["project", "dataset", "budget"])
def test_a_change_and_a_deletion(place: Place, count: int, changeable: dict[str, str], kind: str) -> None:
    path = changeable[kind]
    changes = [("PATCH", path, {"tags": {"n": str(number)}}) for number in range(count - 1)]
    *changed, deleted = at_once(calls(place, *changes, ("DELETE", path, None)))
    assert deleted.status_code == 204
    assert set(statuses(changed)) <= {200, 404}
    assert place.clients(1)[0].get(f"/api/v1{path}").status_code == 404


@pytest.mark.parametrize("kind", ["project", "dataset", "budget"])
def test_a_deletion_counts_once(place: Place, count: int, changeable: dict[str, str], kind: str) -> None:
    gone = place.all_send(count, "DELETE", changeable[kind])
    one_wins(gone, 204, f"{kind}_not_found", lost=404)
    assert place.count(AuditEvent, AuditEvent.action == f"{kind}.delete") == 1


def test_a_project_is_not_deleted_under_what_enters_it(place: Place, count: int, changeable: dict[str, str]) -> None:
    path = changeable["project"]
    bodies = [
        {"project_id": path.rpartition("/")[2], "name": f"d{number}", "kind": "image"} for number in range(count - 1)
    ]
    *made, deleted = at_once(calls(place, *(("POST", "/datasets", body) for body in bodies), ("DELETE", path, None)))
    assert set(statuses(made)) <= {201, 404, 409}
    entered = sum(answer.status_code == 201 for answer in made)
    mine = Project.id == UUID(path.rpartition("/")[2])
    if deleted.status_code == 204:
        assert (entered, place.count(Project, mine)) == (0, 0)
    else:
        assert (deleted.status_code, deleted.json()["code"]) == (409, "project_not_empty")
        assert place.count(Project, mine) == 1
        assert entered == place.count(Dataset, Dataset.project_id == UUID(path.rpartition("/")[2]))


# --- endpoints ------------------------------------------------------------------------------------------


def test_no_change_of_weights_is_lost(place: Place, count: int) -> None:
    """Everybody changes the weight of another variant; whoever names none keeps what the others wrote."""
    path = f"/endpoints/{place.new_endpoint(variants=count)}"
    wanted = {f"v{number}": number + 2 for number in range(count)}
    sent = [("PATCH", f"{path}/weights", {"weights": {name: weight}}) for name, weight in wanted.items()]
    assert statuses(at_once(calls(place, *sent))) == [200] * count
    kept = place.clients(1)[0].get(f"/api/v1{path}").json()["config"]
    assert {one["name"]: one["weight"] for one in kept["variants"]} == wanted
    assert kept["number"] == count + 1


def test_a_config_weights_and_a_deletion(place: Place, count: int) -> None:
    endpoint_id = place.new_endpoint()
    path = f"/endpoints/{endpoint_id}"
    config = {key: value for key, value in place.world.body().items() if key in ("instance_type", "variants")}
    sent: list[tuple[str, str, Any]] = [
        ("PUT", f"{path}/config", config) if number % 2 else ("PATCH", f"{path}/weights", {"weights": {"v0": 3}})
        for number in range(count - 1)
    ]
    *changed, deleted = at_once(calls(place, *sent, ("DELETE", path, None)))
    assert deleted.status_code == 202
    codes = {answer.json().get("code") for answer in changed if answer.status_code >= 400}
    assert codes <= {"endpoint_being_deleted", "variant_unknown"}
    done = statuses(changed).count(200)
    with place.controller_database.unit_of_work() as session:
        numbers = session.scalars(
            select(EndpointConfig.number).where(EndpointConfig.endpoint_id == UUID(endpoint_id))
        ).all()
        endpoint = session.get_one(Endpoint, UUID(endpoint_id))
        wanted = session.get_one(EndpointConfig, endpoint.wanted_config_id)
    assert sorted(numbers) == list(range(1, done + 2))
    assert wanted.number == max(numbers)
    assert endpoint.delete_requested_at is not None
    assert chain_of(place.controller_database, endpoint_id) == ["creating"]


# --- model versions -------------------------------------------------------------------------------------


@pytest.fixture
def version_id(place: Place) -> UUID:
    with place.app_database.unit_of_work(place.tenant.scope) as session:
        return register(session, place.tenant).id


def test_a_version_is_approved_once(place: Place, count: int, version_id: UUID) -> None:
    answers = place.all_send(count, "POST", f"/model-versions/{version_id}/approve", {"reason": "good"})
    one_wins(answers, 200, "already_reviewed")
    assert chain_of(place.controller_database, version_id) == ["approved"]
    assert place.count(AuditEvent, AuditEvent.action == "model_version.approved") == 1


def test_approvals_and_rejections_follow_each_other(place: Place, count: int, version_id: UUID) -> None:
    """An approved version may be rejected and the other way round: each act is done on what stands then."""
    verbs = ["approve" if number % 2 else "reject" for number in range(count)]
    sent = [("POST", f"/model-versions/{version_id}/{verb}", None) for verb in verbs]
    answers = at_once(calls(place, *sent))
    assert set(statuses(answers)) <= {200, 409}
    steps = chain_of(place.controller_database, version_id)
    assert len(steps) == statuses(answers).count(200)
    assert all(before != after for before, after in pairwise(steps))
    kept = place.clients(1)[0].get(f"/api/v1/model-versions/{version_id}").json()
    assert kept["approval_status"] == steps[-1]


# --- jobs -----------------------------------------------------------------------------------------------


def test_a_stop_is_asked_for_once(place: Place, count: int) -> None:
    job = place.submit(place.tenant)
    assert statuses(place.all_send(count, "POST", f"/jobs/{job['id']}/stop")) == [202] * count
    assert place.count(AuditEvent, AuditEvent.action == "job.stop") == 1


def test_a_stop_and_the_end_of_the_job(place: Place, count: int) -> None:
    """Users ask to stop while the agent says that it has completed and controllers look."""
    job_id, hand = place.running_job()
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment)
    controllers(place, 1, [job_id])

    def complete() -> None:
        result = wire.ResultSaved(files=[FILE], summary={})
        hand.sync(result, wire.Ended(outcome="completed"), assignment=assignment, elapsed=0.001)

    make_due(place, [job_id])
    acts: list[Callable[[], object]] = [complete, lambda: control(place, [job_id])]
    acts += calls(place, *([("POST", f"/jobs/{job_id}/stop", None)] * (count - 1)))
    _, _, *stops = at_once(acts)
    asked = [answer for answer in stops if isinstance(answer, Answer)]
    assert {(answer.status_code, answer.json().get("code")) for answer in asked} <= {
        (202, None),
        (409, "job_already_finished"),
    }
    for _ in range(3):
        controllers(place, 2, [job_id])
    assert place.count(Job, Job.status == "completed") == 1, "work that is done is not thrown away"
    assert place.count(Attempt, Attempt.ended_at.is_not(None)) == place.count(Attempt) == 1
    steps = chain_of(place.controller_database, job_id)
    assert steps.count("completed") == 1
    assert steps[-1] == "completed"
    assert place.count(UsageRecord, UsageRecord.source_kind == "attempt") <= 1
    assert place.clients(1)[0].post(f"/api/v1/jobs/{job_id}/stop").status_code == 409


# --- uploads and versions ------------------------------------------------------------------------------


@pytest.fixture
def ready(place: Place) -> tuple[Uploader, dict[str, Any], bytes]:
    """An upload with all its parts."""
    (client,) = place.clients(1)
    uploader, data = Uploader(client, place.new_dataset()), archive(digits())
    upload = uploader.open(data)
    uploader.put_all(upload, data)
    return uploader, upload, data


def stored(place: Place) -> tuple[int, int]:
    """Objects and rows that account for them."""
    storage: ObjectStore = place.app.state.storage
    organization = place.tenant.organization_id
    objects = sum(len(storage.keys(f"{prefix}/{organization}/")) for prefix in ("uploads", "blobs"))
    return objects, place.count(Blob) + place.count(UploadPart)


def test_an_upload_completes_once(place: Place, count: int, ready: tuple[Uploader, dict[str, Any], bytes]) -> None:
    _, upload, _ = ready
    answers = place.all_send(count, "POST", f"/uploads/{upload['id']}/complete")
    told = [(answer.status_code, answer.json().get("code")) for answer in answers]
    assert set(told) <= {(200, None), (409, "upload_not_open")}
    assert (200, None) in told
    assert place.count(DatasetFile) == 30
    assert place.count(AuditEvent, AuditEvent.action == "upload.completed") == 1
    assert chain_of(place.controller_database, upload["id"]) == ["open", "completed"]
    assert stored(place) == (30, 30)


def test_an_upload_is_completed_or_given_up(
    place: Place, count: int, ready: tuple[Uploader, dict[str, Any], bytes]
) -> None:
    uploader, upload, data = ready
    path = f"/uploads/{upload['id']}"
    acts: list[Call] = calls(place, *([("POST", f"{path}/complete", None), ("DELETE", path, None)] * (count // 2)))
    acts.append(lambda: uploader.put(upload, 1, data))
    answers = at_once(acts)
    statuses(answers)
    with place.controller_database.unit_of_work() as session:
        status = session.get_one(Upload, UUID(upload["id"])).status
    assert status in ("completed", "aborted")
    assert place.count(DatasetFile) == (30 if status == "completed" else 0)
    assert chain_of(place.controller_database, upload["id"]) == ["open", status]
    storage: ObjectStore = place.app.state.storage
    assert storage.keys(f"uploads/{place.tenant.organization_id}/") == []
    assert place.count(UploadPart) == 0


def test_a_dataset_is_deleted_or_frozen(
    place: Place, count: int, ready: tuple[Uploader, dict[str, Any], bytes]
) -> None:
    uploader, upload, _ = ready
    assert uploader.complete(upload).status_code == 200
    path = f"/datasets/{uploader.dataset_id}"
    *frozen, deleted = at_once(
        calls(place, *([("POST", f"{path}/versions", {})] * (count - 1)), ("DELETE", path, None))
    )
    made = statuses(frozen).count(201)
    assert set(statuses(frozen)) <= {201, 404}
    if deleted.status_code == 204:
        assert made == place.count(Dataset) == place.count(DatasetFile) == 0
    else:
        assert (deleted.status_code, deleted.json()["code"]) == (409, "dataset_has_versions")
        assert made == count - 1
    assert place.count(DatasetVersion) == made
