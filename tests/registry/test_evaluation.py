"""`evaluation.json` over the REST API: what the trainer writes is what is read, and nothing else is."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.wire import FileRef
from backend.datasets.service import record_blob
from backend.registry import evaluation, schemas
from backend.registry.service import register_version
from tests.fixtures.database import Tenant
from worker.training import findings
from worker.training.findings import Findings
from worker.training.images import ImageFile, Split

pytestmark = pytest.mark.integration
Register = Callable[[bytes | None], str]


@pytest.fixture
def register(app: FastAPI, app_database: Database, tenant: Tenant) -> Register:
    """Register a version with this `evaluation.json`, or with none; returns its id."""

    def make(content: bytes | None) -> str:
        contents = {"model.onnx": b"onnx"} | ({} if content is None else {"evaluation.json": content})
        files = []
        with app_database.unit_of_work(tenant.scope) as session:
            for name, data in contents.items():
                digest = hashlib.sha256(data).hexdigest()
                app.state.storage.put_blob(tenant.organization_id, digest, [data])
                record_blob(session, tenant.scope, digest, len(data))
                files.append(FileRef(name=name, sha256=digest, size_bytes=len(data)))
            version = register_version(
                session,
                tenant.scope,
                project_id=tenant.project_id,
                model_name="digits",
                files=files,
                signature={"inputs": [], "outputs": []},
                metrics={},
                report={},
                job_id=None,
                attempt_id=None,
                dataset_version_id=None,
                parent_version_id=None,
                created_by="user:1",
            )
            return str(version.id)

    return make


def written(folder: Path) -> dict[str, Any]:
    """What a training leaves of three images, one of them wrong."""
    files = [ImageFile(f"{place}.png", f"{place:064x}") for place in range(3)]
    found = Findings("test", Split(np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 1]), files), ["cat", "dog"])
    found.add(np.array([[2, 0], [0, 2], [3, 0]], np.float32))
    found.write(folder)
    document: dict[str, Any] = json.loads((folder / findings.FILE).read_bytes())
    return document


def test_what_the_trainer_wrote_is_read(client: TestClient, register: Register, tmp_path: Path) -> None:
    document = written(tmp_path)
    answer = client.get(f"/api/v1/model-versions/{register(json.dumps(document).encode())}/evaluation")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {key: value for key, value in document.items() if key != "format"}
    assert answer.json()["matrix"] == [[1, 0], [1, 1]]
    assert [one["path"] for one in answer.json()["mistakes"]] == ["2.png"]


@pytest.mark.parametrize(
    ("written_by", "read_as"),
    [
        (findings.EvaluationFile, schemas.Evaluation),
        (findings.ClassFigures, schemas.ClassFigures),
        (findings.Mistake, schemas.Mistake),
        (findings.Probability, schemas.Probability),
    ],
)
def test_writer_and_reader_know_the_same_fields(written_by: type[msgspec.Struct], read_as: type[BaseModel]) -> None:
    assert set(written_by.__struct_fields__) - {"format"} == set(read_as.model_fields)
    assert findings.FILE == evaluation.EVALUATION_FILE


def _without(document: dict[str, Any], name: str) -> bytes:
    return json.dumps({key: value for key, value in document.items() if key != name}).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"no JSON",
        lambda _: b"[" * 100_000,
        lambda _: b" " * (evaluation.MAX_BYTES + 1),
        lambda document: _without(document, "matrix"),
        lambda document: json.dumps(document | {"matrix": [[1, 2], [3]]}).encode(),
        lambda document: json.dumps(document | {"accuracy": 7}).encode(),
        lambda document: json.dumps(document | {"accuracy": float("nan")}).encode(),
        lambda document: json.dumps(document | {"mistakes": [{**document["mistakes"][0], "sha256": "../x"}]}).encode(),
    ],
)
def test_what_is_none_is_not_found(
    client: TestClient, register: Register, tmp_path: Path, spoil: Callable[[dict[str, Any]], bytes | None]
) -> None:
    answer = client.get(f"/api/v1/model-versions/{register(spoil(written(tmp_path)))}/evaluation")
    assert (answer.status_code, answer.json()["code"]) == (404, "evaluation_not_found")


def test_a_stranger_sees_none(
    client: TestClient,
    register: Register,
    make_client: Callable[..., TestClient],
    make_tenant: Callable[[], Tenant],
    tmp_path: Path,
) -> None:
    version = register(json.dumps(written(tmp_path)).encode())
    for address in ("evaluation", "events"):
        assert client.get(f"/api/v1/model-versions/{version}/{address}").status_code == 200
        assert make_client(make_tenant()).get(f"/api/v1/model-versions/{version}/{address}").status_code == 404
