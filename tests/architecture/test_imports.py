"""What a process carries before its first use: large packages that one route or one task needs are not among it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
HEAVY = {"alembic", "mako", "numpy", "onnx", "onnxruntime", "pandas", "PIL", "pyarrow", "sklearn", "torch"}
SERVER_SIDE = {"celery", "fastapi", "pydantic", "psycopg", "redis", "sqlalchemy"}


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("backend.app, uvicorn", HEAVY),
        ("worker.app", HEAVY),
        ("backend.core.migrate, backend.seed", HEAVY | {"celery", "redis"}),
        ("worker.beat", HEAVY | {"fastapi", "psycopg", "sqlalchemy"}),
        ("backend.cli", HEAVY | SERVER_SIDE),
        ("backend.platform.up", HEAVY | {"celery", "fastapi", "redis", "sqlalchemy"}),
        ("worker.localhost.__main__", HEAVY | SERVER_SIDE),
        ("worker.serving.gateway", HEAVY | SERVER_SIDE),
        ("worker.agent", {"onnxruntime", "torch", "sqlalchemy", "fastapi"}),
    ],
)
def test_a_process_starts_without(modules: str, forbidden: set[str]) -> None:
    code = f"import sys\nimport {modules}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert forbidden & set(done.stdout.split()) == set()
