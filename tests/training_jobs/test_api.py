"""What cannot be trained is refused when it is asked for, and no job is left of it."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from backend.core.ids import new_id
from tests.datasets.files import Uploader, archive, digits
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand

pytestmark = pytest.mark.integration
URL = "/api/v1/training-jobs"


@pytest.fixture
def body(client: TestClient, tenant: Tenant, ready_instance: Any) -> dict[str, Any]:
    """A request that is accepted."""
    hand: Hand = ready_instance(tenant)
    assert hand.instance_id
    made = client.post(
        "/api/v1/datasets", json={"project_id": str(tenant.project_id), "name": "digits", "kind": "image"}
    )
    dataset_id = made.json()["id"]
    assert Uploader(client, dataset_id).send(archive(digits())).status_code == 200
    frozen = client.post(f"/api/v1/datasets/{dataset_id}/versions", json={"splits": {"train": 20, "validation": 10}})
    assert frozen.status_code == 201, frozen.text
    return {
        "project_id": str(tenant.project_id),
        "name": "first",
        "dataset_version_id": frozen.json()["id"],
        "model_name": "digits",
        "instance_type": SHAPE,
    }


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"algorithm": "fortune-telling"}, 422, "algorithm"),
        ({"algorithm": 7}, 422, "algorithm"),
        ({"hyperparameters": {"epochs": "many"}}, 422, "epochs"),
        ({"hyperparameters": {"epochs": 0}}, 422, "epochs"),
        ({"hyperparameters": {"epoch": 2}}, 422, "epoch"),
        ({"text_hyperparameters": {"max_length": 64}}, 422, "does not read text_hyperparameters"),
        ({"algorithm": "text-classification"}, 422, "kind 'image'"),
        (
            {"algorithm": "text-classification", "hyperparameters": {"epochs": 2}},
            422,
            "does not read hyperparameters",
        ),
        ({"dataset_version_id": "digits"}, 422, "dataset_version_id"),
        ({"dataset_version_id": str(new_id())}, 404, "dataset version"),
        ({"project_id": str(new_id())}, 404, "project"),
        ({"model_name": "no spaces"}, 422, "model_name"),
        ({"instance_type": "ml.none"}, 422, "instance"),
        ({"market": "black"}, 422, "market"),
        ({"max_attempts": 0}, 422, "max_attempts"),
        ({"surprise": 1}, 422, "surprise"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_leaves_nothing(
    client: TestClient, body: dict[str, Any], change: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post(URL, json=body | change)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.text
    assert client.get("/api/v1/jobs").json()["items"] == []
    assert client.get("/api/v1/models").json()["items"] == []


def test_a_dataset_of_a_kind_that_jobs_do_not_read_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    table = {"project_id": body["project_id"], "name": "wine", "kind": "tabular"}
    dataset_id = client.post("/api/v1/datasets", json=table).json()["id"]
    assert Uploader(client, dataset_id).send(b"a,b\n1,x\n2,y\n", file_name="a.csv").status_code == 200
    frozen = client.post(f"/api/v1/datasets/{dataset_id}/versions", json={"splits": {"train": 2}}).json()
    answer = client.post(URL, json=body | {"dataset_version_id": frozen["id"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_kind_unusable"), answer.text
    assert client.get("/api/v1/jobs").json()["items"] == []


def test_a_text_classifier_is_trained_on_texts(client: TestClient, body: dict[str, Any]) -> None:
    frozen = freeze_texts(client, body["project_id"])
    texts = {"dataset_version_id": frozen, "algorithm": "text-classification"}
    told = client.post(URL, json=body | texts | {"text_hyperparameters": {"epochs": 3}})
    assert told.status_code == 201, told.text
    assert told.json()["parameters"]["algorithm"] == "text-classification"
    assert told.json()["parameters"]["hyperparameters"]["epochs"] == 3
    assert told.json()["parameters"]["hyperparameters"]["max_length"] == 128
    expected = client.post(f"{URL}/estimate", json=body | texts)
    assert expected.status_code == 200, expected.text
    refused = client.post(URL, json=body | {"dataset_version_id": frozen, "name": "second"})
    assert (refused.status_code, refused.json()["code"]) == (422, "dataset_kind_unusable")


def freeze_texts(client: TestClient, project_id: str) -> str:
    """A version of a few texts."""
    dataset = {"project_id": project_id, "name": "mails", "kind": "text"}
    dataset_id = client.post("/api/v1/datasets", json=dataset).json()["id"]
    lines = b"".join(b'{"text":"text %d","label":"%s"}\n' % (number, b"ab"[number % 2 :][:1]) for number in range(20))
    assert Uploader(client, dataset_id).send(lines, file_name="a.jsonl").status_code == 200
    sizes = {"splits": {"train": 10, "validation": 10}}
    return str(client.post(f"/api/v1/datasets/{dataset_id}/versions", json=sizes).json()["id"])


def test_a_name_is_taken_once(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post(URL, json=body).status_code == 201
    answer = client.post(URL, json=body)
    assert answer.status_code == 409, answer.text
    assert "first" in answer.json()["detail"]
    assert len(client.get("/api/v1/jobs").json()["items"]) == 1
