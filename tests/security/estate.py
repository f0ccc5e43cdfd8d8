"""One organization with one of everything, and for every operation of the API a request that reaches it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import numpy as np
from fastapi import FastAPI
from sqlalchemy import func, update
from starlette.testclient import TestClient

from backend.billing.models import SpendingHold
from backend.core.db import Database
from backend.core.ids import new_id
from backend.events.models import EventDelivery
from backend.registry.models import ModelVersion
from tests.datasets.files import Uploader, archive, digits, sha256
from tests.endpoints.conftest import World
from tests.fixtures.database import Tenant
from worker.training import findings
from worker.training.findings import Findings
from worker.training.images import ImageFile, Split

API = "/api/v1"
MUTATING = frozenset({"post", "put", "patch", "delete"})


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    method: str
    path: str
    parameters: tuple[str, ...]
    has_body: bool
    permission: str | None = None
    """What the caller needs; None: no credential."""
    resources: tuple[str, ...] = ()
    """Path parameters that are ids of somebody's rows."""

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"


def operations(app: FastAPI) -> list[Operation]:
    """Every operation under /api/v1."""
    return [
        _operation(method, path, described)
        for path, item in app.openapi()["paths"].items()
        if path.startswith(API)
        for method, described in item.items()
    ]


def _operation(method: str, path: str, described: dict[str, Any]) -> Operation:
    listed = [each for each in described.get("parameters", ()) if each["in"] == "path"]
    return Operation(
        method,
        path,
        tuple(re.findall(r"{(\w+)}", path)),
        has_body="requestBody" in described,
        permission=described["x-permission"],
        resources=tuple(each["name"] for each in listed if each["schema"].get("format") == "uuid"),
    )


HOOK = {"target": "https://receiver.invalid/", "event_types": ["endpoint.failed"]}
EVENT_BODIES = {
    "POST /api/v1/event-subscriptions": HOOK,
    "PATCH /api/v1/event-subscriptions/{subscription_id}": {"description": "taken over"},
}

ADMIN_BODIES = {
    "POST /api/v1/admin/prices": {"sku": "inference:call", "amount": "1"},
    "POST /api/v1/admin/prices/preview": {"sku": "inference:call", "amount": "1"},
    "PATCH /api/v1/admin/organizations/{organization_id}/limits": {"requests_per_minute": 1},
}


@dataclass
class Estate:
    """What an organization owns: ids by the document's path parameter, and a body for each operation with one."""

    tenant: Tenant
    ids: dict[str, str] = field(default_factory=dict)
    model_version_id: str = ""

    def url(self, operation: Operation) -> str:
        """Its address, with this organization's ids."""
        values = dict(self.ids)
        if operation.path.startswith(f"{API}/model-versions"):
            values |= {"version_id": self.model_version_id, "name": "model.onnx"}
        return operation.path.format(**values)

    def body(self, operation: Operation) -> dict[str, Any]:
        """What `TestClient.request` needs besides method and address: a body that the route takes."""
        if not operation.has_body:
            return {}
        if operation.path.endswith("/parts/{number}"):
            return {"content": b"x" * 1024}
        return {"json": self._bodies()[operation.name]}

    def _bodies(self) -> dict[str, Any]:
        project = {"project_id": self.ids["project_id"]}
        variants = [{"name": "a", "model_version_id": self.model_version_id, "weight": 1}]
        config = {"instance_type": "test.endpoints", "variants": variants}
        job = {**project, "name": "another", "instance_type": "test.endpoints"}
        return {
            "POST /api/v1/session": {"email": "nobody@example.org", "password": "no password"},
            "POST /api/v1/me/password": {"current_password": "x", "new_password": "a long enough one"},
            "POST /api/v1/api-keys": {"name": "another"},
            "POST /api/v1/members": {"email": f"{new_id()}@example.org", "full_name": "N. N.", "role": "viewer"},
            "PATCH /api/v1/members/{user_id}": {"role": "viewer"},
            "POST /api/v1/projects": {"name": "another"},
            "PATCH /api/v1/projects/{project_id}": {"description": "taken over"},
            "POST /api/v1/datasets": {**project, "name": "another", "kind": "image"},
            "PATCH /api/v1/datasets/{dataset_id}": {"description": "taken over"},
            "POST /api/v1/datasets/{dataset_id}/uploads": {"file_name": "a.zip", "size_bytes": 10, "sha256": "0" * 64},
            "POST /api/v1/datasets/{dataset_id}/imports": {"source": "https://files.invalid/theirs.zip"},
            "POST /api/v1/datasets/{dataset_id}/versions": {"splits": {"train": 6, "validation": 3, "test": 3}},
            "PATCH /api/v1/dataset-versions/{version_id}": {"tags": {"taken": "over"}},
            "PATCH /api/v1/models/{model_id}": {"description": "taken over"},
            "PATCH /api/v1/model-versions/{version_id}": {"tags": {"taken": "over"}},
            "POST /api/v1/model-versions/{version_id}/approve": {"reason": "taken over"},
            "POST /api/v1/model-versions/{version_id}/reject": {"reason": "taken over"},
            "POST /api/v1/sleep-jobs": job,
            "POST /api/v1/training-jobs": {
                **job,
                "dataset_version_id": self.ids["version_id"],
                "model_name": "another",
            },
            "POST /api/v1/training-jobs/estimate": {**job, "dataset_version_id": self.ids["version_id"]},
            "POST /api/v1/compression-jobs": {**job, "model_version_id": self.model_version_id},
            "POST /api/v1/compression-jobs/estimate": {**job, "model_version_id": self.model_version_id},
            "POST /api/v1/endpoints": {**project, **config, "name": "another"},
            "PATCH /api/v1/endpoints/{endpoint_id}": {"tags": {"taken": "over"}},
            "PUT /api/v1/endpoints/{endpoint_id}/config": config,
            "PATCH /api/v1/endpoints/{endpoint_id}/weights": {"weights": {"fp32": 5}},
            **EVENT_BODIES | ADMIN_BODIES,
            "POST /api/v1/budgets": {**project, "amount": "10"},
            "PATCH /api/v1/budgets/{budget_id}": {"amount": "20"},
        }


def _created(answer: Any) -> str:
    assert answer.status_code in {200, 201}, answer.text
    identity: str = answer.json()["id"]
    return identity


def build_estate(client: TestClient, world: World, member_id: UUID, instance_id: UUID) -> Estate:
    """One of everything, made through the API where the API makes it."""
    tenant = world.tenant
    ours = {"organization_id": str(tenant.organization_id)}
    estate = Estate(
        tenant, ours | {"project_id": str(tenant.project_id), "user_id": str(member_id), "month": "2026-01"}
    )
    ids = estate.ids
    ids["instance_id"] = str(instance_id)
    ids["key_id"] = _created(client.post(f"{API}/api-keys", json={"name": "theirs"}))
    ids["dataset_id"] = _created(
        client.post(f"{API}/datasets", json={"project_id": ids["project_id"], "name": "digits", "kind": "image"})
    )
    members = digits()
    uploader = Uploader(client, ids["dataset_id"])
    assert uploader.send(archive(members)).status_code == 200
    splits = {"splits": {"train": 18, "validation": 6, "test": 6}}
    ids["version_id"] = _created(client.post(f"{API}/datasets/{ids['dataset_id']}/versions", json=splits))
    ids["sha256"] = sha256(next(iter(members.values())))
    ids["upload_id"] = uploader.open(b"y" * 2048)["id"]
    ids["number"] = "1"
    source = {"source": "https://files.invalid/a.zip"}
    ids["import_id"] = _created(client.post(f"{API}/datasets/{ids['dataset_id']}/imports", json=source))
    ids["job_id"] = _created(
        client.post(
            f"{API}/sleep-jobs",
            json={"project_id": ids["project_id"], "name": "nap", "instance_type": "test.endpoints"},
        )
    )
    ids |= {"kind": "dataset_version", "id": ids["version_id"]}
    ids["subscription_id"] = _created(client.post(f"{API}/event-subscriptions", json=HOOK))
    sent = client.post(f"{API}/event-subscriptions/{ids['subscription_id']}/test")
    assert sent.status_code == 202, sent.text
    ids["delivery_id"] = sent.json()["id"]
    ids["budget_id"] = _created(client.post(f"{API}/budgets", json={"project_id": ids["project_id"], "amount": "10"}))
    endpoint = client.post(f"{API}/endpoints", json=world.body())
    ids["endpoint_id"] = _created(endpoint)
    estate.model_version_id = endpoint.json()["config"]["variants"][0]["model_version_id"]
    _finish(world.controller, client, estate)
    return estate


def evaluation() -> bytes:
    """What a training says of three images, one of them taken for another."""
    files = [ImageFile(f"{place}.png", f"{place:064x}") for place in range(3)]
    found = Findings("test", Split(np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 1]), files), ["cat", "dog"])
    found.add(np.array([[2, 0], [0, 2], [3, 0]], np.float32))
    with TemporaryDirectory() as folder:
        found.write(Path(folder))
        return (Path(folder) / findings.FILE).read_bytes()


def _finish(database: Database, client: TestClient, estate: Estate) -> None:
    """What only controllers and jobs make: a hold, an artifact that can be read, a version to be reviewed."""
    hold_id = new_id()
    version_id = UUID(estate.model_version_id)
    with database.unit_of_work() as session:
        session.add(
            SpendingHold(
                id=hold_id,
                organization_id=estate.tenant.organization_id,
                project_id=estate.tenant.project_id,
                budget_id=UUID(estate.ids["budget_id"]),
                reason="over",
            )
        )
        found = evaluation()
        digest = sha256(found)
        client.app.state.storage.put_blob(estate.tenant.organization_id, digest, [found])  # type: ignore[attr-defined] # a FastAPI
        files = [
            {"name": "model.onnx", "sha256": estate.ids["sha256"], "size_bytes": 1},
            {"name": "evaluation.json", "sha256": digest, "size_bytes": len(found)},
        ]
        session.execute(
            update(ModelVersion).where(ModelVersion.id == version_id).values(files=files, approval_status="pending")
        )
        session.execute(
            update(EventDelivery)
            .where(EventDelivery.id == UUID(estate.ids["delivery_id"]))
            .values(delivered_at=func.clock_timestamp(), due_at=None)
        )
    estate.ids["hold_id"] = str(hold_id)
    estate.ids["model_id"] = client.get(f"{API}/model-versions/{version_id}").json()["model_id"]
