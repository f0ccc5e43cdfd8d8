"""The start page, the search field, and errors inside the shell."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from backend.billing import budgets
from backend.billing.models import Budget, SpendingHold
from backend.core.db import Database, make_engine
from backend.core.ids import new_id
from backend.core.settings import Settings, require
from backend.datasets.models import Dataset
from backend.jobs import service as jobs
from backend.jobs import states
from backend.registry.models import Model
from frontend.pages.start import STOP_POLLING
from tests.fixtures.database import Tenant
from tests.frontend.conftest import Member
from tests.frontend.test_dashboard import HTML, enter
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


def test_a_new_organization_sees_its_first_steps(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    page = visitor.get("/")
    assert page.status_code == 200
    assert parse(page.text).refused == []
    assert page.text.count('class="first-step"') == 3
    assert "No job runs or waits." in page.text
    assert visitor.get("/", headers={"HX-Request": "true"}).status_code == STOP_POLLING


def test_steps_that_are_done_have_ticks_and_what_runs_and_fails_is_shown(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID], app_database: Database
) -> None:
    make_job(member.tenant, "runs-now")
    make_job(member.tenant, "broke-down", states.FAILED)
    own = {"organization_id": member.tenant.organization_id, "project_id": member.tenant.project_id}
    with app_database.unit_of_work(member.tenant.scope) as session:
        session.add(Dataset(name="digits", kind="image", description="", created_by="user:x", **own))
        session.add(Model(name="digits-cnn", description="", created_by="user:x", **own))
        session.add(SpendingHold(reason="the budget is spent", organization_id=member.tenant.organization_id))
    enter(visitor, member)
    shown = visitor.get("/").text
    assert shown.count('class="first-step is-done"') == 2
    for words in ("runs-now", "broke-down", "the budget is spent", "New spending is stopped"):
        assert words in shown
    live = visitor.get("/", headers={"HX-Request": "true"})
    assert live.status_code == 200
    assert "<html" not in live.text


def test_the_top_bar_compares_the_month_with_the_budget(
    visitor: TestClient, member: Member, app_database: Database
) -> None:
    with app_database.unit_of_work(member.tenant.scope) as session:
        for amount in (250, 100):
            session.add(
                Budget(
                    organization_id=member.tenant.organization_id,
                    project_id=None,
                    amount=Decimal(amount),
                    alert_percents=[80],
                    hold_at_limit=False,
                )
            )
        session.flush()
        assert budgets.smallest_amount(session, member.tenant.scope) == 100
    enter(visitor, member)
    assert "$0.00 of $100.00" in visitor.get("/training").text


def test_search_finds_every_kind_by_beginning_and_middle_and_only_ones_own(
    visitor: TestClient,
    member: Member,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    app_database: Database,
) -> None:
    job = make_job(member.tenant, "Zebra-train", states.COMPLETED)
    make_job(member.tenant, "big-zebra", states.COMPLETED)
    make_job(make_member().tenant, "zebra-of-others", states.COMPLETED)
    own = {"organization_id": member.tenant.organization_id, "project_id": member.tenant.project_id}
    with app_database.unit_of_work(member.tenant.scope) as session:
        session.add(Dataset(name="zebra-pictures", kind="image", description="", created_by="user:x", **own))
        session.add(Model(name="zebra-cnn", description="", created_by="user:x", **own))
    enter(visitor, member)
    found = visitor.get("/search?text=zebra").text
    for words in ("Zebra-train", "big-zebra", "zebra-pictures", "zebra-cnn", f"/training/{job}", 'role="option"'):
        assert words in found
    assert found.index("Zebra-train") < found.index("big-zebra")
    assert "zebra-of-others" not in found
    assert "Nothing has this name." in visitor.get("/search?text=lion").text
    for odd in ("%", "_", "\\", "%00", "x" * 150, "\u202e"):
        assert 'role="option"' not in visitor.get("/search", params={"text": odd}).text
    assert visitor.get("/search?text=").text.strip() == ""


def test_a_search_reads_a_piece_of_the_index_however_many_names_there_are(
    tenant: Tenant, app_database: Database, controller_database: Database, database_settings: Settings
) -> None:
    """20,000 jobs; a name that begins so is found without looking at the others."""
    shape = f"test.{new_id()}"
    with controller_database.unit_of_work() as session:
        session.execute(
            text("INSERT INTO instance_types (name, provider, vcpus, memory_bytes, description)"
                 " VALUES (:shape, 'local', 1, 1, '')"), {"shape": shape})  # fmt: skip
        session.execute(
            text(
                "INSERT INTO jobs (id, organization_id, project_id, kind, name, parameters, inputs, output, tags,"
                " instance_type, market, max_attempts, max_runtime_seconds, keep_alive_seconds, status, status_reason,"
                " progress, created_by, ended_at)"
                " SELECT gen_random_uuid(), :org, :project, 'sleep',"
                " CASE n WHEN 7 THEN 'needle' ELSE 'many-' || n END, '{}', '{}', '{}', '{}', :shape,"
                " 'on-demand', 1, 60, 0, 'completed', '', '{}', 'user:x', now() FROM generate_series(1, 20000) AS n"
            ),
            {"org": tenant.organization_id, "project": tenant.project_id, "shape": shape},
        )
    owner = Database(make_engine(require(database_settings.database.owner_url, "owner"), pool_size=1))
    with owner.unit_of_work() as session:
        session.execute(text("ANALYZE jobs"))
    owner.dispose()
    with app_database.unit_of_work(tenant.scope) as session:
        assert [row.name for row in jobs.find_named(session, tenant.scope, "needle", 5)] == ["needle"]
        plan = "\n".join(
            session.scalars(
                text(
                    "EXPLAIN SELECT id FROM jobs WHERE organization_id = :org AND name >= 'need' AND name < 'needz'"
                    " ORDER BY name LIMIT 5"
                ),
                {"org": tenant.organization_id},
            )
        )
    assert "uq_jobs_organization_id" in plan
    assert "Index Cond" in plan
    assert "need" in plan.split("Index Cond", 1)[1].splitlines()[0]


def test_what_is_not_there_is_said_inside_the_shell_with_a_way_back(visitor: TestClient, member: Member) -> None:
    assert "gate-card" in visitor.get("/nowhere").text
    enter(visitor, member)
    for path, back in ((f"/training/{uuid4()}", "/training"), ("/training/x", "/training"), ("/nowhere", "/")):
        answer = visitor.get(path)
        assert answer.status_code == 404
        assert parse(answer.text).refused == []
        assert member.email in answer.text
        assert f'class="btn btn-primary" href="{back}"' in answer.text
    assert 'class="console"' not in visitor.get("/admin/nowhere").text
    problem = visitor.get("/nowhere", headers={"Accept": "application/json"})
    assert problem.headers["content-type"] == "application/problem+json"
