"""A tenant's models as jobs leave them: digits that a linear model answered, and a compressed version of it."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from sklearn.linear_model import LogisticRegression
from sqlalchemy.orm import Session

from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.storage import ObjectStore
from backend.core.wire import FileRef
from backend.datasets.manifest import ManifestRow, write_manifest
from backend.datasets.models import Dataset, DatasetVersion
from backend.datasets.service import record_blob
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant
from backend.registry.models import ModelVersion
from backend.registry.service import register_version
from tests.fixtures.database import Tenant
from tests.training.folders import LabelledImage, png, sklearn_digits, write_channel
from worker.compression.config import CompressionParameters
from worker.training.data import read_dataset
from worker.training.findings import FILE, Findings

SIGNATURE: dict[str, Any] = {
    "format": "onnx",
    "precision": "fp32",
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}],
    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    "classes": [str(digit) for digit in range(10)],
}
COUNTS = (100, 60, 300)
"""Digits of the train, validation and test split."""
REPORT: dict[str, Any] = {
    "method": "static-int8",
    "plan": "float-first-convolution",
    "accepted": True,
    "objections": [],
    "size_bytes": {"before": 432_000, "after": 118_000},
    "latency_ms": {"before": 0.142, "after": 0.061},
    "throughput": {"before": 9_120.0, "after": 20_450.0},
    "accuracy": {"before": 0.9833, "after": 0.98},
    "accuracy_loss_points": 0.33,
    "speedup": 2.327,
    "throughput_speedup": 2.242,
    "max_accuracy_loss_points": 0.5,
    "minimum_speedup": 1.0,
    "measured_on": {"split": "validation", "images": 60, "latency_batch": 1, "throughput_batch": 32, "threads": 1,
                    "onnxruntime": "1.23.0"},
    "calibrated_on": {"split": "train", "images": CompressionParameters().calibration_images, "method": "minmax"},
    "layers": [
        {"name": "node_conv2d", "operator": "Conv", "precision": "fp32", "weights": 288,
         "size_bytes_before": 1152, "size_bytes_after": 1152},
        {"name": "node_linear", "operator": "Gemm", "precision": "int8", "weights": 100_352,
         "size_bytes_before": 401_408, "size_bytes_after": 100_352},
    ],
}  # fmt: skip
"""As `worker.compression.job` writes it; tests/compression holds that the dashboard reads a real one."""


@dataclass(frozen=True)
class Registered:
    """Ids of what was made."""

    model_id: UUID
    dataset_version_id: UUID
    trained: UUID
    compressed: UUID


class Registry:
    """Makes models of one tenant."""

    def __init__(self, database: Database, storage: ObjectStore, tenant: Tenant) -> None:
        self.database = database
        self.storage = storage
        self.tenant = tenant

    def digits(self) -> Registered:
        """A model of two versions on real digits: fp32 with its evaluation, and int8 with its report."""
        told, images = evaluated(), sklearn_digits(*COUNTS)
        metrics = {"test_accuracy": evaluation()["accuracy"], "validation_accuracy": 0.9833, "validation_loss": 0.1}
        with self.database.unit_of_work(self.tenant.scope) as session:
            dataset = self._dataset(session, images)
            files = {"model.onnx": b"o" * 432_000, "signature.json": b"{}", FILE: told}
            trained = self.version(
                session, "digits", files, metrics=metrics, report={"epochs_run": 12}, dataset=dataset
            )
            small = self.version(session, "digits", {"model.onnx": b"i" * 118_000, FILE: told}, metrics=metrics,
                                 report=REPORT, dataset=dataset, parent=trained.id, precision="int8")  # fmt: skip
            return Registered(trained.model_id, dataset, trained.id, small.id)

    def version(
        self,
        session: Session,
        model_name: str,
        contents: dict[str, bytes],
        *,
        metrics: dict[str, float] | None = None,
        report: dict[str, Any] | None = None,
        dataset: UUID | None = None,
        parent: UUID | None = None,
        precision: str = "fp32",
        signature: dict[str, Any] | None = None,
    ) -> ModelVersion:
        """Register a version of a model with these files."""
        return register_version(
            session,
            self.tenant.scope,
            project_id=self.tenant.project_id,
            model_name=model_name,
            files=[self._file(session, name, data) for name, data in contents.items()],
            signature=(signature or SIGNATURE) | {"precision": precision},
            metrics=metrics or {},
            report=report or {},
            job_id=None,
            attempt_id=None,
            dataset_version_id=dataset,
            parent_version_id=parent,
            created_by="user:somebody",
        )

    def deploy(self, name: str, version_id: UUID, instance_type: str) -> UUID:
        """An endpoint that answers with a version."""
        own = {"organization_id": self.tenant.organization_id}
        config, endpoint = new_id(), new_id()
        with self.database.unit_of_work(self.tenant.scope) as session:
            session.add(Endpoint(id=endpoint, project_id=self.tenant.project_id, name=name, status="in_service",
                                 status_reason="", wanted_config_id=config, live_config_id=config,
                                 max_body_bytes=2**20, created_by="user:1", **own))  # fmt: skip
            session.flush()
            session.add(EndpointConfig(id=config, endpoint_id=endpoint, number=1, instance_type=instance_type,
                                       replica_count=1, processes=1, created_by="user:1", **own))  # fmt: skip
            session.flush()
            session.add(ProductionVariant(config_id=config, name="main", model_version_id=version_id, weight=1,
                                          position=0, **own))  # fmt: skip
        return endpoint

    def _dataset(self, session: Session, images: list[LabelledImage]) -> UUID:
        rows = []
        for number, image in enumerate(images):
            file = self._file(session, f"{image.label}/{number}.png", png(image.pixels))
            rows.append(ManifestRow(path=file.name, sha256=file.sha256, size_bytes=file.size_bytes,
                                    label=image.label, split=image.split, width=8, height=8))  # fmt: skip
        manifest = self._file(session, "manifest", write_manifest(rows))
        own = {"organization_id": self.tenant.organization_id}
        dataset = Dataset(id=new_id(), project_id=self.tenant.project_id, name="digits", description="", kind="image",
                          created_by="user:1", **own)  # fmt: skip
        session.add(dataset)
        session.flush()
        version = DatasetVersion(id=new_id(), dataset_id=dataset.id, number=1, manifest_sha256=manifest.sha256,
                                 manifest_bytes=manifest.size_bytes, file_count=len(rows),
                                 size_bytes=sum(row.size_bytes for row in rows), classes={}, splits={}, split_seed=0,
                                 created_by="user:1", **own)  # fmt: skip
        session.add(version)
        session.flush()
        return version.id

    def _file(self, session: Session, name: str, data: bytes) -> FileRef:
        digest = hashlib.sha256(data).hexdigest()
        self.storage.put_blob(self.tenant.organization_id, digest, [data])
        record_blob(session, self.tenant.scope, digest, len(data))
        return FileRef(name=name, sha256=digest, size_bytes=len(data))


@cache
def evaluated() -> bytes:
    """`evaluation.json` of a linear model that learnt from few digits: it makes mistakes."""
    with TemporaryDirectory() as name:
        dataset = read_dataset(write_channel(Path(name), sklearn_digits(*COUNTS)))
        flat = {split: one.images.reshape(len(one), -1) / 255 for split, one in dataset.splits.items()}
        model = LogisticRegression(max_iter=200).fit(flat["train"], dataset.splits["train"].labels)
        findings = Findings.of(dataset)
        findings.add(model.decision_function(flat["test"]).astype(np.float32))
        findings.write(Path(name))
        return (Path(name) / FILE).read_bytes()


def evaluation() -> dict[str, Any]:
    """The same, read."""
    found: dict[str, Any] = msgspec.json.decode(evaluated())
    return found
