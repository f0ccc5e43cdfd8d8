"""Names that people choose, over the REST API: one gets it, the others are told so, and nothing is half-written."""

from uuid import UUID, uuid4

from backend.audit.models import AuditEvent
from backend.core.idempotency import IdempotencyRecord
from backend.core.lifecycle import Event
from backend.datasets.models import Dataset, DatasetFile, DatasetVersion
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant
from backend.identity.models import ApiKey, LoginSession, Membership, User
from backend.jobs.models import Job
from backend.projects.models import Project
from tests.concurrency.cases import races
from tests.concurrency.place import Place, at_once, one_wins
from tests.datasets.files import Uploader, archive, digits
from tests.fixtures.engine import SHAPE


def audited(place: Place, action: str) -> int:
    """How often the tenant's audit says that this was done."""
    return place.count(AuditEvent, AuditEvent.action == action)


@races("uq_projects_organization_id_name")
def project_names(place: Place, count: int) -> None:
    one_wins(place.all_send(count, "POST", "/projects", {"name": "same"}), 201, "project_name_taken")
    assert place.count(Project, Project.name == "same") == audited(place, "project.create") == 1


@races("uq_datasets_organization_id_project_id_name")
def dataset_names(place: Place, count: int) -> None:
    body = {"project_id": str(place.tenant.project_id), "name": "same", "kind": "image"}
    one_wins(place.all_send(count, "POST", "/datasets", body), 201, "dataset_name_taken")
    assert place.count(Dataset) == audited(place, "dataset.create") == 1


@races("uq_jobs_organization_id_name")
def job_names(place: Place, count: int) -> None:
    body = {"project_id": str(place.tenant.project_id), "name": "same", "instance_type": SHAPE}
    one_wins(place.all_send(count, "POST", "/sleep-jobs", body), 201, "job_name_taken")
    assert place.count(Job, Job.name == "same") == 1
    assert place.count(Event, Event.resource_kind == "job") == audited(place, "job.submit") == 1


@races("uq_endpoints_name")
def endpoint_names(place: Place, count: int) -> None:
    one_wins(place.all_send(count, "POST", "/endpoints", place.world.body()), 201, "endpoint_name_taken")
    assert place.count(Endpoint) == place.count(EndpointConfig) == audited(place, "endpoint.create") == 1
    assert place.count(ProductionVariant) == 2


@races("uq_endpoint_configs_endpoint_id_number", "uq_production_variants_config_id_name")
def endpoint_configs(place: Place, count: int) -> None:
    endpoint_id = place.new_endpoint()
    bodies = [{"weights": {"v0": number + 2}} for number in range(count)]
    answers = place.all_send(count, "PATCH", f"/endpoints/{endpoint_id}/weights", bodies)
    assert [answer.status_code for answer in answers] == [200] * count
    numbers = sorted(answer.json()["config"]["number"] for answer in answers)
    assert numbers == list(range(2, count + 2)), "each change is a config of its own, without gaps"
    assert place.count(ProductionVariant) == 2 * (count + 1)
    last = max((answer.json() for answer in answers), key=lambda said: said["config"]["number"])
    kept = place.make_client(place.tenant).get(f"/api/v1/endpoints/{endpoint_id}").json()
    assert kept["config"] == last["config"], "the last writer's config is the one that is wanted"


@races("uq_memberships_organization_id_user_id")
def memberships(place: Place, count: int) -> None:
    """An account that has no membership any more is taken in again, once."""
    (client,) = place.clients(1)
    body = {"email": f"{uuid4()}@example.org", "full_name": "Per Son", "role": "viewer"}
    user_id = client.post("/api/v1/members", json=body).json()["user_id"]
    assert client.delete(f"/api/v1/members/{user_id}").status_code == 204
    won = one_wins(place.all_send(count, "POST", "/members", body), 201, "already_member")
    assert won.json()["user_id"] == user_id
    assert place.count(Membership, Membership.user_id == UUID(user_id)) == 1


@races("uq_users_email_lower")
def addresses(place: Place, count: int) -> None:
    """From as many organizations, in as many spellings."""
    email = f"person-{uuid4()}@example.org"
    clients = [place.make_client(place.make_tenant()) for _ in range(count)]
    spellings = [email.upper() if number % 2 else email for number in range(count)]

    def add(number: int) -> object:
        body = {"email": spellings[number], "full_name": "Per Son", "role": "viewer"}
        return clients[number].post("/api/v1/members", json=body)

    answers = at_once([lambda number=number: add(number) for number in range(count)])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    one_wins(answers, 201, "email_taken")  # type: ignore[arg-type]  # see above
    with place.controller_database.unit_of_work() as session:
        assert session.query(User).filter(User.email.ilike(email)).count() == 1


@races("uq_sessions_token_hash")
def log_ins(place: Place, count: int) -> None:
    (client,) = place.clients(1)
    body = {"email": f"{uuid4()}@example.org", "full_name": "Per Son", "role": "viewer"}
    made = client.post("/api/v1/members", json=body).json()
    login = {"email": made["email"], "password": made["initial_password"]}
    anybody = [place.make_client() for _ in range(count)]
    answers = at_once([lambda one=one: one.post("/api/v1/session", json=login) for one in anybody])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    assert [answer.status_code for answer in answers] == [201] * count
    assert place.count(LoginSession) == count, "each log-in is a session with a token of its own"


@races("uq_api_keys_access_key_id", "uq_api_keys_token_hash")
def api_keys(place: Place, count: int) -> None:
    """Names of keys are free; what identifies them is drawn."""
    answers = place.all_send(count, "POST", "/api-keys", {"name": "same", "role": "viewer"})
    assert [answer.status_code for answer in answers] == [201] * count
    for field in ("token", "secret", "access_key_id", "id"):
        assert len({answer.json()[field] for answer in answers}) == count
    assert place.count(ApiKey, ApiKey.name == "same") == audited(place, "api_key.create") == count


@races("uq_idempotency_keys_organization_id_principal_key")
def idempotency_keys(place: Place, count: int) -> None:
    (client,) = place.clients(1)
    headers = {"Idempotency-Key": str(uuid4())}
    answers = at_once([lambda: client.post("/api/v1/projects", json={"name": "same"}, headers=headers)] * count)
    done = [answer for answer in answers if answer.status_code == 201]
    told = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert len(done) >= 1
    assert len({answer.content for answer in done}) == 1, "whoever got an answer got the first one"
    assert told == ["idempotency_in_progress"] * (count - len(done))
    assert place.count(IdempotencyRecord) == audited(place, "project.create") == 1
    again = client.post("/api/v1/projects", json={"name": "same"}, headers=headers)
    assert (again.status_code, again.content) == (201, done[0].content)


@races("uq_dataset_files_dataset_id_path")
def file_paths(place: Place, count: int) -> None:
    """Archives that hold the same paths with other content: one becomes files, the others change nothing."""
    dataset_id = place.new_dataset()
    sent = []
    for number, client in enumerate(place.clients(count)):
        content = {path: digits(3, 40)[f"{path[0]}/{10 + number:02d}.png"] for path in digits(2, 3)}
        uploader = Uploader(client, dataset_id)
        data = archive(content)
        upload = uploader.open(data)
        uploader.put_all(upload, data)
        sent.append((uploader, upload))
    answers = at_once([lambda one=one, up=up: one.complete(up) for one, up in sent])  # type: ignore[misc]  # mypy cannot infer a lambda's default
    one_wins(answers, 200, "invalid_files", lost=422)
    assert place.count(DatasetFile) == 6


@races("uq_dataset_versions_dataset_id_number")
def dataset_versions(place: Place, count: int) -> None:
    dataset_id = place.new_dataset()
    (client,) = place.clients(1)
    assert Uploader(client, dataset_id).send(archive(digits())).status_code == 200
    answers = place.all_send(count, "POST", f"/datasets/{dataset_id}/versions", {})
    assert [answer.status_code for answer in answers] == [201] * count, [answer.text for answer in answers]
    assert sorted(answer.json()["number"] for answer in answers) == list(range(1, count + 1))
    assert len({answer.json()["manifest_sha256"] for answer in answers}) == 1, "the same files are the same snapshot"
    assert place.count(DatasetVersion) == audited(place, "dataset_version.create") == count
