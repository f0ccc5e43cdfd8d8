"""Two organizations on one running platform: neither sees, reads, writes or infers anything of the other (★9)."""

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text

from backend.core.bell import agent_password
from backend.core.db import Scope
from backend.tables import METADATA
from modelyard.images import write_archive
from modelyard.types import ModelVersion
from tests.e2e.thefts import BODIES, CREATIONS
from tests.fixtures.digits import DigitsPilot, ServedDigits, digits
from tests.fixtures.platform import ON_PLATFORM, RunningPlatform, Tenancy

pytestmark = ON_PLATFORM

PARAMETER = re.compile(r"\{(\w+)\}")
OPERATORS = "/api/v1/admin/"
NOBODY = "01a20000-0000-7000-8000-000000000000"
NOT_AN_ID = {"kind", "month", "number", "name"}
"""Path parameters that name nothing of an organization by themselves."""


@pytest.fixture(scope="module")
def other(platform: RunningPlatform) -> Tenancy:
    """A second organization."""
    return platform.add_organization("rival")


@pytest.fixture(scope="module")
def first(platform: RunningPlatform) -> Iterator[httpx2.Client]:
    """HTTP as the first organization's owner."""
    with _http(platform, platform.owner["api_key"]) as client:
        yield client


@pytest.fixture(scope="module")
def rival(platform: RunningPlatform, other: Tenancy) -> Iterator[httpx2.Client]:
    """HTTP as the second organization's owner."""
    with _http(platform, other.api_key) as client:
        yield client


def _http(platform: RunningPlatform, api_key: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx2.Client(base_url=platform.api_url, headers=headers, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def theirs(
    platform: RunningPlatform, first: httpx2.Client, digits_pilot: DigitsPilot, served_digits: ServedDigits
) -> dict[str, str]:
    """Ids of the first organization."""
    version = digits_pilot.versions["blue"]
    return _ids(platform, first, platform.owner["organization_id"], version, served_digits.endpoint_id)


@pytest.fixture(scope="module")
def mine(
    platform: RunningPlatform, other: Tenancy, rival: httpx2.Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Ids of the second organization: a small model of two digits, served."""
    client = platform.client(other.api_key)
    archive = tmp_path_factory.mktemp("rival") / "few.zip"
    few = [image for image, _ in zip((each for each in digits() if each[0] in "01"), range(60), strict=False)]
    write_archive(archive, few)
    project = client.projects.create("rivalry")
    dataset = client.datasets.create(project.id, "few")
    client.datasets.upload(dataset.id, archive, part_size_bytes=64 * 1024)
    data = client.datasets.freeze(dataset.id, splits={"train": 40, "validation": 10, "test": 10})
    job = client.training_jobs.create(
        project.id, "few", dataset_version_id=data.id, model_name="few",
        hyperparameters={"epochs": 1, "width": 4, "hidden": 8, "batch_size": 8},
    )  # fmt: skip
    job = client.jobs.wait(job.id, timeout_seconds=120)
    version = client.models.version(job.output["model_version_id"])
    served = [{"name": "one", "model_version_id": version.id, "weight": 1}]
    endpoint = client.endpoints.create(project.id, "few", variants=served)
    client.endpoints.wait(endpoint.id)
    return _ids(platform, rival, other.organization_id, version, endpoint.id)


def _ids(
    platform: RunningPlatform, http: httpx2.Client, organization_id: str, version: ModelVersion, endpoint_id: str
) -> dict[str, str]:
    """Ids of an organization, by path parameter (a version's by what it is a version of)."""

    def newest(address: str) -> dict[str, Any]:
        found: dict[str, Any] = http.get(address).json()["items"][0]
        return found

    dataset_id = http.get(f"/api/v1/dataset-versions/{version.dataset_version_id}").json()["dataset_id"]
    with platform.database("controller").unit_of_work() as session:
        hold = session.execute(
            text(
                "INSERT INTO spending_holds (id, organization_id, project_id, reason, lifted_at)"
                " VALUES (gen_random_uuid(), :organization, NULL, 'tried', clock_timestamp()) RETURNING id"
            ),
            {"organization": organization_id},
        ).scalar_one()
    return {
        **_outside(http, dataset_id),
        "kind": "job",
        "id": str(version.job_id),
        "project_id": newest("/api/v1/projects")["id"],
        "dataset_id": dataset_id,
        "upload_id": newest(f"/api/v1/datasets/{dataset_id}/uploads")["id"],
        "dataset_version": str(version.dataset_version_id),
        "model_version": version.id,
        "model_id": version.model_id,
        "sha256": newest(f"/api/v1/dataset-versions/{version.dataset_version_id}/files")["sha256"],
        "job_id": str(version.job_id),
        "endpoint_id": endpoint_id,
        "instance_id": http.get(f"/api/v1/endpoints/{endpoint_id}").json()["replicas"][0]["instance_id"],
        "budget_id": http.post("/api/v1/budgets", json={"amount": "1000000"}).json()["id"],
        "hold_id": str(hold),
        "key_id": newest("/api/v1/api-keys")["id"],
        "user_id": newest("/api/v1/members")["user_id"],
        "name": "model.onnx",
        "number": "1",
        "month": "2026-01",
    }


def _outside(http: httpx2.Client, dataset_id: str) -> dict[str, str]:
    """Ids of what speaks with other hosts."""
    source = {"source": "https://files.invalid/a.zip"}
    hook = {"target": "https://hooks.invalid/modelyard", "event_types": ["job.completed"]}
    subscription = http.post("/api/v1/event-subscriptions", json=hook).json()["id"]
    return {
        "import_id": http.post(f"/api/v1/datasets/{dataset_id}/imports", json=source).json()["id"],
        "subscription_id": subscription,
        "delivery_id": http.post(f"/api/v1/event-subscriptions/{subscription}/test").json()["id"],
    }


def _operations(client: httpx2.Client) -> list[tuple[str, str]]:
    document = client.get("/api/v1/openapi.json").json()
    found = [(method.upper(), path) for path, operations in document["paths"].items() for method in operations]
    return [(method, path) for method, path in found if path.startswith("/api/v1/")]


def _filled(template: Any, ids: dict[str, str], path: str = "") -> Any:
    """Parameters of an address or a body, replaced by ids."""
    version = "dataset_version" if "dataset-versions" in path else "model_version"
    written = json.dumps(template)
    for name in set(PARAMETER.findall(written)):
        written = written.replace(f"{{{name}}}", ids[version if name == "version_id" else name])
    return json.loads(written)


def _tenants(client: httpx2.Client) -> list[tuple[str, str]]:
    """What is a tenant's own: the operators' routes belong to none, and are closed to every key."""
    return [(method, path) for method, path in _operations(client) if not path.startswith(OPERATORS)]


def test_the_operators_routes_are_closed_to_every_organizations_keys(
    first: httpx2.Client, rival: httpx2.Client
) -> None:
    closed = [(method, path) for method, path in _operations(first) if path.startswith(OPERATORS)]
    assert len(closed) > 3
    for method, path in closed:
        for client in (first, rival):
            answer = client.request(method, PARAMETER.sub(NOBODY, path), json={})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path, answer.text)


def test_every_route_answers_404_to_another_organizations_ids(
    first: httpx2.Client, rival: httpx2.Client, theirs: dict[str, str], mine: dict[str, str]
) -> None:
    addressed = [(method, path) for method, path in _tenants(first) if set(PARAMETER.findall(path)) - NOT_AN_ID]
    assert len(addressed) > 35
    wrong = {}
    for owner, stranger, ids in ((first, rival, theirs), (rival, first, mine)):
        for method, path in addressed:
            address = _filled(path, ids, path)
            if method == "GET":
                # The ids are real: their owner finds each.
                assert owner.get(address).status_code == 200, address
            body = _filled(BODIES.get(f"{method} {path}"), ids)
            answer = stranger.request(method, address, json=body)
            if answer.status_code != 404:
                wrong[f"{method} {path}"] = answer.status_code, answer.text
    assert wrong == {}


def test_nothing_can_be_made_of_another_organizations_things(
    rival: httpx2.Client, theirs: dict[str, str], mine: dict[str, str]
) -> None:
    for address, bodies in CREATIONS.items():
        for number, body in enumerate(bodies):
            named = {**body} if "budgets" in address else {**body, "name": f"theft-{number}"}
            answer = rival.post(address, json=_filled(named, {**theirs, "own_project": mine["project_id"]}))
            assert answer.status_code == 404, (address, body, answer.text)
    for address in ("/api/v1/jobs", "/api/v1/endpoints"):
        assert not [each for each in rival.get(address).json()["items"] if "theft" in each["name"]]


@pytest.mark.usefixtures("mine")
def test_no_list_tells_of_another_organization(
    first: httpx2.Client, rival: httpx2.Client, theirs: dict[str, str], platform: RunningPlatform
) -> None:
    # Both were given images of the same digits: their digests may be equal, their ids are not.
    secrets = {value for name, value in theirs.items() if name not in NOT_AN_ID | {"sha256"}}
    secrets |= {"tiny-digits", "penmanship", platform.owner["organization_id"]}
    told = 0
    for method, path in _tenants(first):
        if method == "GET" and not PARAMETER.findall(path) and "openapi" not in path:
            answer = rival.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert [secret for secret in secrets if secret in answer.text] == [], path
            told += any(secret in first.get(path).text for secret in secrets)
    assert told > 8, "the first organization's own lists do tell of its things"
    # Nor do filters by another's ids find anything.
    for path in ("/api/v1/usage", "/api/v1/charges"):
        assert first.get(path, params={"resource_id": theirs["job_id"]}).json()["items"]
        assert rival.get(path, params={"resource_id": theirs["job_id"]}).json()["items"] == []


def test_names_taken_elsewhere_are_free(platform: RunningPlatform, other: Tenancy, theirs: dict[str, str]) -> None:
    client = platform.client(other.api_key)
    project = client.projects.create("penmanship-too")
    assert client.datasets.create(project.id, "tiny-digits").id != theirs["dataset_id"]
    assert client.projects.ensure("penmanship").id != theirs["project_id"]


@pytest.mark.usefixtures("mine")
def test_the_gateway_knows_no_endpoint_of_another_organization(
    platform: RunningPlatform, other: Tenancy, served_digits: ServedDigits
) -> None:
    for address, absent in (("/v2/models/{}/infer", 404), ("/endpoints/{}/invocations", 400)):
        status, said = _ask(platform, other.api_key, address.format(served_digits.name))
        assert status == absent
        assert "there is no endpoint" in said
        unknown = _ask(platform, other.api_key, address.format("never-was"))
        assert unknown == (absent, said.replace(served_digits.name, "never-was")), "it tells no more than of none"


def _ask(platform: RunningPlatform, api_key: str, address: str) -> tuple[int, str]:
    """Status and text of a call over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.gateway_port, timeout=10)
    try:
        connection.request("POST", address, b"{}", {"Authorization": f"Bearer {api_key}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.usefixtures("mine")
def test_a_kept_connection_is_closed_when_another_organization_speaks(
    platform: RunningPlatform, other: Tenancy, served_digits: ServedDigits
) -> None:
    tensor = {key: value for key, value in served_digits.input.items() if key != "raw"}
    body = json.dumps({"inputs": [{**tensor, "data": [0] * 64}]}).encode()

    def request(api_key: str) -> bytes:
        head = f"POST /v2/models/{served_digits.name}/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api_key}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    with socket.create_connection(("127.0.0.1", platform.gateway_port), timeout=10) as connection:
        connection.sendall(request(platform.owner["api_key"]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        served_digits.answered += 1
        connection.sendall(request(other.api_key))
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(65536) == b""


@pytest.mark.usefixtures("digits_pilot")
def test_files_of_the_same_content_are_kept_apart(
    platform: RunningPlatform, other: Tenancy, rival: httpx2.Client, tmp_path: Path
) -> None:
    client = platform.client(other.api_key)
    project = client.projects.ensure("copies")
    dataset = client.datasets.create(project.id, "copies")
    same = [pair for pair, _ in zip(digits(), range(40), strict=False)]
    write_archive(tmp_path / "same.zip", same)
    objects = platform.home / "objects" / "blobs"
    owned = objects / platform.owner["organization_id"]
    before = sum(1 for _ in owned.rglob("*"))
    client.datasets.upload(dataset.id, tmp_path / "same.zip", part_size_bytes=64 * 1024)
    version = client.datasets.freeze(dataset.id, splits={"train": 0.5, "test": 0.5})
    copies = {path.name for path in (objects / other.organization_id).rglob("*") if path.is_file()}
    assert {file.sha256 for file in client.datasets.files(version.id)} <= copies
    assert sum(1 for _ in owned.rglob("*")) == before
    # A digest that only the other organization has is unknown, whatever version it is asked of.
    foreign = {path.name for path in owned.rglob("*") if path.is_file()} - copies
    answer = rival.get(f"/api/v1/dataset-versions/{version.id}/files/{min(foreign)}")
    assert answer.status_code == 404


def test_an_agents_broker_user_reaches_its_own_keys_and_no_more(
    platform: RunningPlatform, theirs: dict[str, str]
) -> None:
    instance = theirs["instance_id"]
    stranger = "0" * 8
    connection = redis.Redis(
        unix_socket_path=str(platform.valkey_socket),
        username=instance,
        password=agent_password(platform.secrets.agent_secret, instance),
    )
    refused: list[tuple[str, ...]] = [
        ("GET", f"{stranger}:agent"),
        ("LPUSH", f"{stranger}:agent", "bell"),
        ("BRPOP", "control", "1"),
        ("LPUSH", "control", "bell"),
        ("DEL", f"{stranger}:agent"),
        ("PUBLISH", f"{stranger}:news", "x"),
        ("SUBSCRIBE", f"{stranger}:news"),
        ("PSUBSCRIBE", "*"),
        ("EVAL", "return redis.call('get', KEYS[1])", "1", f"{stranger}:agent"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("PUBSUB", "CHANNELS"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("ACL", "LIST"),
        ("ACL", "SETUSER", instance, "~*"),
        ("CONFIG", "GET", "*"),
        ("FUNCTION", "LIST"),
        ("FLUSHALL",),
        ("SCRIPT", "FLUSH"),
    ]
    with connection:
        assert connection.execute_command("LPUSH", f"{instance}:mine", "x") == 1  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        assert connection.execute_command("DEL", f"{instance}:mine") == 1  # type: ignore[no-untyped-call]  # as above
        for command in refused:
            with pytest.raises(redis.exceptions.NoPermissionError):
                connection.execute_command(*command)  # type: ignore[no-untyped-call]  # as above


def test_a_wrong_broker_password_opens_nothing(platform: RunningPlatform, theirs: dict[str, str]) -> None:
    for password in (agent_password("another secret", theirs["instance_id"]), ""):
        connection = redis.Redis(
            unix_socket_path=str(platform.valkey_socket),
            username=theirs["instance_id"],
            password=password,
            retry=Retry(NoBackoff(), 0),
        )
        with connection, pytest.raises(redis.exceptions.AuthenticationError):
            connection.ping()


def test_the_database_shows_the_app_role_one_organization(platform: RunningPlatform, other: Tenancy) -> None:
    organizations = platform.owner["organization_id"], other.organization_id
    tables = [table.name for table in METADATA.tables.values() if "organization_id" in table.c]
    assert len(tables) > 20
    rows: dict[str, list[int]] = {}
    for table in tables:
        statement = text(f"SELECT count(*) FILTER (WHERE organization_id <> :own), count(*) FROM {table}")  # noqa: S608 - a table's name
        for organization in organizations:
            with platform.database("app").unit_of_work(Scope(UUID(organization))) as session:
                foreign, whole = session.execute(statement, {"own": organization}).one()
            assert foreign == 0, table
            rows.setdefault(table, []).append(whole)
        with platform.database("app").unit_of_work() as session:
            assert session.execute(statement, {"own": other.organization_id}).one()[1] == 0, table
    assert rows["jobs"][0] > 0
    assert rows["charges"][0] > 0
    with platform.database("app").unit_of_work(Scope(UUID(other.organization_id))) as session:
        changed = session.execute(
            text("UPDATE projects SET description = 'mine' WHERE organization_id = :theirs"),
            {"theirs": platform.owner["organization_id"]},
        )
        assert changed.rowcount == 0  # type: ignore[attr-defined]  # an UPDATE's result has one
