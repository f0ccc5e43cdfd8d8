"""The command as people run it: in this process, against the real API on a port, as a test's tenant."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from backend import cli
from backend.core.db import Database
from backend.core.wire import FileRef
from backend.datasets.service import record_blob
from backend.registry.service import register_version
from tests.fixtures.database import Tenant
from tests.frontend.server import serving

CONTENT = {"model.onnx": b"onnx" * 1000, "model.safetensors": b"weights", "signature.json": b"{}"}


@dataclass(frozen=True)
class Told:
    """What one run of the command answered."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass
class Command:
    """`modelyard …` with a tenant's key; `environment` may be changed before a run."""

    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str) -> Told:
        result = CliRunner().invoke(cli.app, list(words), env=self.environment, prog_name="modelyard")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Told(result.exit_code, result.stdout, result.stderr)

    def ok(self, *words: str) -> Told:
        told = self(*words)
        assert told.status == 0, told.stderr
        return told

    def json(self, *words: str) -> Any:
        return self.ok(*words, "--output", "json").json


@pytest.fixture(scope="session")
def api_url(app: FastAPI) -> Iterator[str]:
    with serving(app) as url:
        yield url


@pytest.fixture
def command(api_url: str, make_key: Callable[..., str], tenant: Tenant, tmp_path: Path) -> Command:
    return Command(
        {
            "MODELYARD_API_URL": api_url,
            "MODELYARD_API_KEY": make_key(tenant),
            "MODELYARD_HOME": str(tmp_path / "no-home"),
            "NO_COLOR": "1",
            "TERMINAL_WIDTH": "200",
        }
    )


@pytest.fixture
def register(app: FastAPI, app_database: Database, tenant: Tenant) -> Callable[..., str]:
    """Store an artifact and register it as the next version of a model; returns the version's id."""

    def make(model_name: str = "digits") -> str:
        files = []
        with app_database.unit_of_work(tenant.scope) as session:
            for name, content in CONTENT.items():
                digest = hashlib.sha256(content).hexdigest()
                app.state.storage.put_blob(tenant.organization_id, digest, [content])
                record_blob(session, tenant.scope, digest, len(content))
                files.append(FileRef(name=name, sha256=digest, size_bytes=len(content)))
            version = register_version(
                session,
                tenant.scope,
                project_id=tenant.project_id,
                model_name=model_name,
                files=files,
                signature={
                    "precision": "fp32",
                    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}],
                    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
                    "classes": ["0", "1"],
                },
                metrics={"test_accuracy": 0.98312},
                report={},
                job_id=None,
                attempt_id=None,
                dataset_version_id=None,
                parent_version_id=None,
                created_by="user:1",
            )
            return str(version.id)

    return make
