"""The whole API against its own OpenAPI document: what is valid and what is not, never a 5xx (schemathesis)."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Err

from tests.fixtures.database import Tenant

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]


def test_no_request_gets_a_server_error(
    app: FastAPI, make_tenant: Callable[[], Tenant], make_key: Callable[..., str]
) -> None:
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    headers = {"Authorization": f"Bearer {make_key(make_tenant())}"}
    seen: Counter[int] = Counter()
    failures: dict[str, str] = {}

    def fuzz(operation: Any) -> None:
        strategy = operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

        @given(case=strategy)
        @settings(
            max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        def call(case: Any) -> None:
            answer = case.call(headers=headers)
            seen[answer.status_code] += 1
            if answer.status_code >= 500:
                failures[operation.label] = f"{answer.status_code}: {case.as_curl_command()}"

        call()

    for found in document.get_all_operations():
        assert not isinstance(found, Err), found
        fuzz(found.ok())
    assert failures == {}
    # Without these the requests never came past authentication and validation.
    assert seen[200] > 50
    assert seen[201] > 10
    assert seen[404] > 50
    assert seen[422] > 50
