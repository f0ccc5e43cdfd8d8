"""What a training job is expected to take is told from like jobs and the prices in force, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from backend.billing import service as billing
from backend.core.db import Database
from backend.core.ids import new_id
from backend.jobs.models import Job
from backend.training_jobs.schemas import Hyperparameters
from tests.fixtures.database import Tenant
from tests.training_jobs.test_api import body  # noqa: F401 - a fixture

pytestmark = pytest.mark.integration
URL = "/api/v1/training-jobs/estimate"


@pytest.fixture
def wanted(body: dict[str, Any]) -> dict[str, Any]:  # noqa: F811 - a fixture
    """A request, without what an estimate does not need."""
    return {key: value for key, value in body.items() if key not in {"name", "model_name"}}


@pytest.fixture
def ran(app_database: Database, tenant: Tenant, wanted: dict[str, Any]) -> Callable[..., None]:
    """A training that took `setup` seconds to its first step and `work` seconds after it."""

    def make(
        setup: float, work: float, *, dataset: UUID | None = None, attempts: int = 1, **hyperparameters: Any
    ) -> None:
        ended = datetime.now(UTC)
        started = ended - timedelta(seconds=setup + work)
        with app_database.unit_of_work(tenant.scope) as session:
            session.add(
                Job(
                    id=new_id(), organization_id=tenant.organization_id, project_id=tenant.project_id,
                    kind="training", name=f"past-{new_id()}",
                    parameters={"hyperparameters": Hyperparameters(**hyperparameters).model_dump(mode="json")},
                    inputs={"training": {"kind": "dataset", "id": str(dataset or wanted["dataset_version_id"])}},
                    instance_type=wanted["instance_type"], market="on-demand", max_attempts=3, attempt_count=attempts,
                    max_runtime_seconds=600, keep_alive_seconds=0, status="completed", status_reason="completed",
                    created_by="user:somebody", started_at=started, ended_at=ended,
                    first_step_at=started + timedelta(seconds=setup),
                )
            )  # fmt: skip

    return make


@pytest.fixture
def price(controller_database: Database, wanted: dict[str, Any]) -> Decimal:
    amount = Decimal("0.0001")
    with controller_database.unit_of_work() as session:
        sku = f"instance:{wanted['instance_type']}:on-demand"
        if billing.price_in_force(session, sku) is None:
            billing.set_price(session, sku, amount, datetime(2026, 1, 1, tzinfo=UTC))
        found = billing.price_in_force(session, sku)
        assert found is not None
        return found.amount


def ask(client: TestClient, wanted: dict[str, Any], **changes: Any) -> dict[str, Any]:
    answer = client.post(URL, json=wanted | changes)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_without_a_like_job_only_the_most_is_known(client: TestClient, wanted: dict[str, Any], price: Decimal) -> None:
    found = ask(client, wanted, max_runtime_seconds=100, max_attempts=2, keep_alive_seconds=50)
    assert (found["like_jobs"], found["seconds_low"], found["amount_high"]) == (0, None, None)
    assert found["at_most_seconds"] == 200
    assert Decimal(found["at_most_amount"]) == 250 * price


def test_the_time_after_the_first_step_is_scaled_to_the_epochs(
    client: TestClient, wanted: dict[str, Any], price: Decimal, ran: Callable[..., None]
) -> None:
    ran(2, 10, epochs=5)
    ran(4, 20, epochs=5)
    fixed = {"early_stopping": {"enabled": False}}
    found = ask(client, wanted, hyperparameters={"epochs": 10, **fixed}, keep_alive_seconds=5)
    assert (found["like_jobs"], found["seconds_low"], found["seconds_high"]) == (2, 22.0, 44.0)
    assert Decimal(found["amount_low"]) == 22 * price
    assert Decimal(found["amount_high"]) == 49 * price
    may_stop = ask(client, wanted, hyperparameters={"epochs": 10})
    assert (may_stop["seconds_low"], may_stop["seconds_high"]) == (12.0, 44.0)
    limited = ask(client, wanted, hyperparameters={"epochs": 10, **fixed}, max_runtime_seconds=30)
    assert (limited["seconds_low"], limited["seconds_high"]) == (22.0, 30.0)


def test_jobs_of_the_same_shape_go_before_others_and_unlike_ones_do_not_count(
    client: TestClient, wanted: dict[str, Any], ran: Callable[..., None]
) -> None:
    ran(1, 100, epochs=15, dataset=new_id())
    ran(1, 200, epochs=15, attempts=2)
    ran(1, 50, epochs=15, width=64)
    assert ask(client, wanted)["seconds_high"] == 51.0
    ran(1, 10, epochs=15)
    found = ask(client, wanted)
    assert (found["like_jobs"], found["seconds_high"]) == (1, 11.0)
    assert ask(client, wanted, hyperparameters={"width": 64})["seconds_high"] == 51.0


def test_without_a_price_time_is_told_and_money_is_not(
    client: TestClient, wanted: dict[str, Any], ran: Callable[..., None]
) -> None:
    ran(1, 10)
    found = ask(client, wanted, market="spot")
    assert found["seconds_high"] == 11.0
    assert (found["price_per_second"], found["amount_high"], found["at_most_amount"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"dataset_version_id": str(new_id())}, 404),
        ({"project_id": str(new_id())}, 404),
        ({"instance_type": "ml.none"}, 422),
        ({"hyperparameters": {"epochs": 0}}, 422),
        ({"surprise": 1}, 422),
    ],
)
def test_what_could_not_be_started_is_not_estimated(
    client: TestClient, wanted: dict[str, Any], change: dict[str, Any], status: int
) -> None:
    assert client.post(URL, json=wanted | change).status_code == status


def test_the_body_of_a_start_is_taken_as_it_is(client: TestClient, body: dict[str, Any]) -> None:  # noqa: F811 - a fixture
    assert ask(client, body)["like_jobs"] == 0
