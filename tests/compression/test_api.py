"""What cannot be compressed is refused when it is asked for."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.storage import ObjectStore
from tests.fixtures.database import Tenant
from tests.fixtures.engine import SHAPE, Hand
from tests.frontend.registered import SIGNATURE, Registry
from tests.training_jobs.test_api import freeze_texts

pytestmark = pytest.mark.integration
URL = "/api/v1/compression-jobs"


@pytest.fixture
def storage(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path / 'objects'}")


@pytest.fixture
def body(
    client: TestClient, tenant: Tenant, ready_instance: Any, app_database: Database, storage: ObjectStore
) -> dict[str, Any]:
    """A request that is accepted: the client is the tenant's."""
    assert client
    hand: Hand = ready_instance(tenant)
    assert hand.instance_id
    made = Registry(app_database, storage, tenant).digits()
    return {
        "project_id": str(tenant.project_id),
        "name": "small",
        "model_version_id": str(made.trained),
        "instance_type": SHAPE,
    }


def test_every_method_is_taken_with_its_parameters(client: TestClient, body: dict[str, Any]) -> None:
    parameters = {
        "method": "dynamic-int8",
        "pruning": {"kind": "structured", "amount": 0.3},
        "minimum_throughput_speedup": 1.5,
        "fallback": False,
    }
    told = client.post(URL, json=body | {"parameters": parameters})
    assert told.status_code == 201, told.text
    kept = told.json()["parameters"]
    assert kept["minimum_speedup"] is None
    assert kept["pruning"] == {
        "kind": "structured", "amount": 0.3, "epochs": 3, "learning_rate": 0.001, "batch_size": 64,
    }  # fmt: skip
    assert {name: kept[name] for name in ("method", "minimum_throughput_speedup", "fallback")} == {
        name: parameters[name] for name in ("method", "minimum_throughput_speedup", "fallback")
    }


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"method": "magic"}, "method"),
        ({"method": "none"}, "choose a method or a kind of pruning"),
        ({"pruning": {"kind": "structured", "amount": 1}}, "amount"),
        ({"pruning": {"kind": "structured", "amount": 0}}, "amount"),
        ({"pruning": {"kind": "topiary"}}, "kind"),
        ({"pruning": {"epochs": -1}}, "epochs"),
        ({"minimum_speedup": "fast"}, "minimum_speedup"),
        ({"fallback": "perhaps"}, "fallback"),
    ],
)
def test_wrong_parameters_are_named(
    parameters: dict[str, Any], said: str, client: TestClient, body: dict[str, Any]
) -> None:
    answer = client.post(URL, json=body | {"parameters": parameters})
    assert answer.status_code == 422, answer.text
    assert said in answer.text


def test_a_model_of_images_is_not_measured_on_texts(
    client: TestClient, body: dict[str, Any], tenant: Tenant, app_database: Database, storage: ObjectStore
) -> None:
    texts = freeze_texts(client, body["project_id"])
    answer = client.post(URL, json=body | {"dataset_version_id": texts})
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_kind_unusable"), answer.text
    reads = SIGNATURE | {"preprocessing": {"tokenizer": {"file": "tokenizer.json", "max_length": 128}}}
    with app_database.unit_of_work(tenant.scope) as session:
        made = Registry(app_database, storage, tenant).version(
            session, "mails", {"model.onnx": b"o", "signature.json": b"{}"}, signature=reads
        )
        version_id = str(made.id)
    told = client.post(URL, json=body | {"model_version_id": version_id, "dataset_version_id": texts})
    assert told.status_code == 201, told.text
