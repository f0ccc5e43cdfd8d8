"""The whole API against its own OpenAPI document: every check of schemathesis, as several roles, with several seeds."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI

from tests.api.fuzzing import fuzz
from tests.fixtures.database import Tenant

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(36_000)]
SEEDS = os.environ.get("SEEDS", "1").split(",")
SECONDS = os.environ.get("FUZZ_SECONDS", "45")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("role", ["owner", "developer", "viewer", "billing"])
def test_the_api_keeps_its_word(
    app: FastAPI, make_tenant: Callable[[], Tenant], make_key: Callable[..., str], tmp_path: Path, role: str, seed: str
) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(app.openapi()))
    tenant = make_tenant()
    seen, report = fuzz(app, document, lambda: make_key(tenant, role), "--seed", seed, "--max-time", SECONDS)
    assert report == "", report
    assert seen.failures == []
    assert seen.undeclared(app.openapi()) == []
    # Without these the requests never came past authentication and validation.
    assert seen.statuses[200] > 100
    assert seen.statuses[422] > 100
    assert seen.statuses[404] > 100
    assert role in {"viewer", "billing"} or seen.statuses[201] > 20
