"""The admin console: for operators only, everything of all organizations, and each act in somebody's audit."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.audit.models import AuditEvent
from backend.audit.service import record, seal_pending
from backend.billing import budgets
from backend.billing import service as billing
from backend.billing.errors import SuspendedByOperator
from backend.core.auth import Principal
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.ticks import BEAT, Run, note
from backend.fleet.models import Instance, InstanceType, Quota
from backend.identity import operators
from backend.jobs import states
from backend.jobs.models import Job
from frontend.pages import admin, admin_acts, admin_prices
from tests.frontend.conftest import Member
from tests.frontend.test_dashboard import HTML, enter
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
ROUTES = [
    (method, route)
    for router in (admin.router, admin_acts.router, admin_prices.router)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]
LISTS = ("", "/organizations", "/instances", "/jobs", "/prices", "/health", "/audit")


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


@pytest.fixture
def operator(make_member: Callable[..., Member], controller_database: Database) -> Member:
    """A viewer in an organization of their own who runs the platform."""
    member = make_member("viewer")
    with controller_database.unit_of_work() as session:
        assert operators.grant(session, member.email, by="system:test")
    return member


@pytest.fixture
def victim(make_member: Callable[..., Member], make_job: Callable[..., UUID]) -> Member:
    """Another organization with a job that runs and one that waits."""
    member = make_member()
    make_job(member.tenant, f"runs-{member.user_id}")
    make_job(member.tenant, f"waits-{member.user_id}", states.QUEUED)
    return member


def token(visitor: TestClient) -> str:
    return parse(visitor.get("/admin/prices").text).fields["csrf_token"]


def acts(database: Database, member: Member) -> list[tuple[str, str]]:
    with database.unit_of_work(member.tenant.scope) as session:
        return [(one.actor, one.action) for one in session.scalars(select(AuditEvent).order_by(AuditEvent.id))]


@pytest.mark.parametrize("role", ["owner", "viewer"])
def test_to_members_the_console_is_not_there(
    visitor: TestClient, make_member: Callable[..., Member], role: str
) -> None:
    enter(visitor, make_member(role))
    home = visitor.get("/").text
    assert 'href="/admin"' not in home
    csrf = parse(home).fields["csrf_token"]
    assert len(ROUTES) >= 13
    for method, route in ROUTES:
        path = route.path.format(organization_id=uuid4(), instance_id=uuid4())
        answer = visitor.request(method, path, data={"csrf_token": csrf} if method == "POST" else None)
        assert answer.status_code == 404, (method, path)
        assert 'class="console"' not in answer.text


def test_nobody_is_sent_to_log_in(visitor: TestClient) -> None:
    answer = visitor.get("/admin/jobs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/admin/jobs")


def test_who_is_an_operator_is_asked_anew_with_each_request(
    visitor: TestClient, operator: Member, controller_database: Database
) -> None:
    enter(visitor, operator)
    assert 'href="/admin"' in visitor.get("/").text
    assert visitor.get("/admin").status_code == 200
    with controller_database.unit_of_work() as session:
        assert operators.revoke(session, operator.email, by="system:test")
        assert not operators.revoke(session, operator.email, by="system:test")
    assert visitor.get("/admin").status_code == 404
    with controller_database.unit_of_work() as session, pytest.raises(operators.NobodyOfThatName):
        operators.grant(session, "nobody@example.com", by="system:test")


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_page_shows_without_inline_code(visitor: TestClient, operator: Member, path: str, language: str) -> None:
    enter(visitor, operator)
    answer = visitor.get(f"/admin{path}", headers={"Accept-Language": language})
    assert answer.status_code == 200
    assert 'class="console"' in answer.text
    page = parse(answer.text)
    assert page.refused == []
    assert {str(each.get("id")) for each in page.inputs} <= page.labels
    block = visitor.get(f"/admin{path}", headers={"HX-Request": "true"})
    assert block.status_code == 200


def test_the_overview_counts_what_runs_waits_and_was_spent(
    visitor: TestClient, operator: Member, victim: Member, app_database: Database, controller_database: Database
) -> None:
    spend(app_database, controller_database, victim, Decimal(123000))
    enter(visitor, operator)
    text = visitor.get("/admin").text
    assert f"Organization {victim.tenant.organization_id}" in text
    assert "$123,000.00" in text
    assert "USD 123000." in text
    figure = visitor.get("/admin/figures/spend").json()
    assert (figure["kind"], figure["unit"], len(figure["x"])) == ("bars", "usd", 30)
    mine = [one for one in figure["series"] if one["name"] == f"Organization {victim.tenant.organization_id}"]
    assert sum(mine[0]["values"]) == pytest.approx(123000)


def spend(app_database: Database, controller_database: Database, member: Member, dollars: Decimal) -> None:
    """So much was charged to the organization a moment ago."""
    sku = f"test:{new_id()}"
    now = datetime.now(UTC).replace(microsecond=0)
    with controller_database.unit_of_work() as session:
        billing.set_price(session, sku, Decimal(1), now.replace(day=1, hour=0, minute=0, second=0))
    with app_database.unit_of_work(member.tenant.scope) as session:
        billing.record_usage(
            session, member.tenant.scope, project_id=member.tenant.project_id, source_kind="attempt",
            source_id=new_id(), resource_kind="job", resource_id=new_id(), resource_name="job", sku=sku,
            quantity=dollars, from_at=max(now - timedelta(seconds=1), now.replace(day=1, hour=0, minute=0, second=0)),
            to_at=now, detail={},
        )  # fmt: skip
    with controller_database.unit_of_work() as session:
        billing.rate(session, 500)


def test_jobs_of_all_organizations_with_the_reason_they_wait(
    visitor: TestClient, operator: Member, victim: Member
) -> None:
    enter(visitor, operator)
    organization = str(victim.tenant.organization_id)
    text = visitor.get("/admin/jobs", params={"organization": organization}).text
    assert f"runs-{victim.user_id}" in text
    assert "waiting for placement" in text
    waiting = visitor.get("/admin/jobs", params={"organization": organization, "status": "queued"}).text
    assert f"runs-{victim.user_id}" not in waiting
    assert f"waits-{victim.user_id}" in waiting
    assert f"waits-{victim.user_id}" in visitor.get("/admin/jobs").text
    assert visitor.get("/admin/jobs?cursor=made-up").status_code == 422
    assert visitor.get("/admin/jobs?organization=nobody").status_code == 404


def test_the_list_of_jobs_goes_on_after_a_cursor(
    visitor: TestClient, operator: Member, make_job: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        make_job(operator.tenant, f"paged-{number}", states.QUEUED)
    monkeypatch.setattr(admin, "PAGE_SIZE", 2)
    enter(visitor, operator)
    where = {"organization": str(operator.tenant.organization_id)}
    first = visitor.get("/admin/jobs", params=where).text
    assert "paged-2" in first
    assert "paged-0" not in first
    link = next(part for part in first.split('"') if part.startswith("/admin/jobs?") and "cursor=" in part)
    assert "paged-0" in visitor.get(link.replace("&amp;", "&")).text


def test_a_quota_is_set_changed_and_removed(
    visitor: TestClient, operator: Member, victim: Member, app_database: Database
) -> None:
    enter(visitor, operator)
    path = f"/admin/organizations/{victim.tenant.organization_id}"
    for amount, expected in (("3", [("*", 3)]), ("5", [("*", 5)]), ("", [])):
        answer = visitor.post(
            f"{path}/quotas", data={"csrf_token": token(visitor), "instance_type": "*", "max_instances": amount}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, path)
        with app_database.unit_of_work(victim.tenant.scope) as session:
            assert [(one.instance_type, one.max_instances) for one in session.scalars(select(Quota))] == expected
    assert acts(app_database, victim)[-3:] == [(f"operator:{operator.user_id}", "quota.set")] * 3
    for wrong in ({"max_instances": "-1"}, {"max_instances": "many"}, {"instance_type": "ml.none"}):
        given = {"csrf_token": token(visitor), "instance_type": "*", "max_instances": "7"} | wrong
        answer = visitor.post(f"{path}/quotas", data=given)
        assert answer.status_code == 422
        assert "field-error" in answer.text
        assert f'value="{given["max_instances"]}"' in answer.text
    nobody = f"/admin/organizations/{uuid4()}"
    assert visitor.get(nobody).status_code == 404
    assert visitor.post(f"{nobody}/quotas", data={"csrf_token": token(visitor)}).status_code == 404


def test_an_organization_is_suspended_and_cannot_lift_that_itself(
    visitor: TestClient, operator: Member, victim: Member, app_database: Database
) -> None:
    enter(visitor, operator)
    path = f"/admin/organizations/{victim.tenant.organization_id}"
    empty = visitor.post(f"{path}/suspend", data={"csrf_token": token(visitor), "reason": "  "})
    assert empty.status_code == 422
    for _ in range(2):
        answer = visitor.post(f"{path}/suspend", data={"csrf_token": token(visitor), "reason": "unpaid bills"})
        assert answer.status_code == 303
    assert "unpaid bills" in visitor.get(path).text
    owner = Principal("user", victim.user_id, "Ada", victim.tenant.organization_id, "1", "owner")
    with app_database.unit_of_work(victim.tenant.scope) as session:
        (hold,) = budgets.list_holds(session, victim.tenant.scope)
        assert budgets.check_budgets(session, victim.tenant.scope) == 0
        with pytest.raises(SuspendedByOperator):
            budgets.lift_hold(session, owner, hold.id)
    assert visitor.post(f"{path}/resume", data={"csrf_token": token(visitor)}).status_code == 303
    with app_database.unit_of_work(victim.tenant.scope) as session:
        assert list(budgets.list_holds(session, victim.tenant.scope)) == []
    who = f"operator:{operator.user_id}"
    assert acts(app_database, victim)[-2:] == [(who, "spending_hold.place"), (who, "spending_hold.lift")]


def test_a_machine_is_drained(visitor: TestClient, operator: Member, victim: Member, app_database: Database) -> None:
    enter(visitor, operator)
    listed = visitor.get("/admin/instances", params={"organization": str(victim.tenant.organization_id)}).text
    with app_database.unit_of_work(victim.tenant.scope) as session:
        instance = session.scalars(select(Instance)).one().id
    assert f"/admin/instances/{instance}/drain" in listed
    answer = visitor.post(f"/admin/instances/{instance}/drain", data={"csrf_token": token(visitor)})
    assert answer.status_code == 303
    with app_database.unit_of_work(victim.tenant.scope) as session:
        assert session.scalars(select(Instance)).one().drain_requested_at is not None
    assert (f"operator:{operator.user_id}", "instance.drain") in acts(app_database, victim)
    assert visitor.post(f"/admin/instances/{uuid4()}/drain", data={"csrf_token": token(visitor)}).status_code == 404


def test_health_says_what_runs_and_what_is_late(
    visitor: TestClient, operator: Member, controller_database: Database
) -> None:
    with controller_database.unit_of_work() as session:
        note(session, "host-1", [Run("jobs.control", 1.0, 0.02), Run(BEAT, 400.0, 0.0)])
        note(session, "host-1", [Run("fleet.control", 1.0, 0.5, "RuntimeError: it broke")])
    enter(visitor, operator)
    text = visitor.get("/admin/health").text
    assert "jobs.control" in text
    assert "RuntimeError: it broke" in text
    assert "fails: fleet.control" in text
    assert "last heard 6 min" in text
    assert "written and read in" in text
    assert "MODELYARD_BROKER__URL" in text


def test_the_audit_of_all_and_the_chain_of_one(
    visitor: TestClient, operator: Member, victim: Member, app_database: Database, controller_database: Database
) -> None:
    scope = victim.tenant.scope
    with app_database.unit_of_work(scope) as session:
        for _ in range(3):
            record(session, f"user:{victim.user_id}", scope, action="odd.act", resource_kind="x", resource_id="1",
                   detail={"why": "<b>"})  # fmt: skip
    with controller_database.unit_of_work() as session:
        seal_pending(session, 10_000)
    enter(visitor, operator)
    text = visitor.get("/admin/audit?action=odd.").text
    assert victim.email in text
    assert "&lt;b&gt;" in text
    where = {"organization": str(scope.organization_id), "check": "chain"}
    assert "3 events follow one another" in visitor.get("/admin/audit", params=where).text
    with controller_database.unit_of_work() as session:
        changed = session.scalars(select(AuditEvent).where(AuditEvent.organization_id == scope.organization_id)).first()
        assert changed is not None
        changed.detail = {"why": "another"}
    assert "does not follow" in visitor.get("/admin/audit", params=where).text


def test_prices_say_which_version_is_in_force(
    visitor: TestClient, operator: Member, controller_database: Database
) -> None:
    sku, now = f"instance:{new_id()}:spot", datetime.now(UTC)
    with controller_database.unit_of_work() as session:
        billing.set_price(session, sku, Decimal("0.001"), now - timedelta(days=1))
        billing.set_price(session, sku, Decimal("0.002"), now + timedelta(days=1))
    enter(visitor, operator)
    text = visitor.get("/admin/prices").text
    assert text.index("$7.20 an hour") < text.index("$3.60 an hour")
    assert "from a later day" in text


def test_a_price_is_looked_at_and_then_set(
    visitor: TestClient, operator: Member, app_database: Database, controller_database: Database
) -> None:
    shape = f"test.{new_id()}"
    with controller_database.unit_of_work() as session:
        session.add(InstanceType(name=shape, provider="local", vcpus=1.0, memory_bytes=2**30, description="test"))
    enter(visitor, operator)
    sku = f"instance:{shape}:spot"
    typed = {"csrf_token": token(visitor), "sku": sku, "amount": "0.0005", "effective_from": "", "description": ""}
    assert visitor.post("/admin/prices", data=typed).status_code == 303
    typed |= {"amount": "0.001", "effective_from": "2090-01-01T00:00"}
    looked = visitor.post("/admin/prices/check", data=typed)
    assert looked.status_code == 200
    assert looked.text.index("$1.80 an hour") < looked.text.index("$3.60 an hour")
    assert f"modelyard admin set-price {sku} 0.001 --from 2090-01-01T00:00:00Z" in looked.text
    fields = parse(looked.text).fields
    assert {name: fields[name] for name in typed} == typed | {"csrf_token": fields["csrf_token"]}
    assert visitor.post("/admin/prices", data=fields).headers["location"] == "/admin/prices"
    with app_database.unit_of_work(operator.tenant.scope) as session:
        found = [one for one in billing.list_prices(session, at=None) if one.sku == sku]
        assert [(one.amount, one.set_by) for one in found] == [
            (Decimal("0.0005"), f"operator:{operator.user_id}"),
            (Decimal("0.001"), f"operator:{operator.user_id}"),
        ]
    assert acts(app_database, operator)[-1] == (f"operator:{operator.user_id}", "price.set")
    for path in ("/admin/prices", "/admin/prices/check"):
        for wrong in (
            {"amount": "-1"}, {"amount": "1e-12"}, {"amount": ""}, {"sku": "bananas"}, {"effective_from": "soon"},
            {"effective_from": "2020-01-01T00:00"}, {"effective_from": "2090-01-01T00:00", "amount": "7"},
        ):  # fmt: skip
            if path.endswith("check") and wrong.get("amount") == "7":
                continue
            given = typed | {"effective_from": ""} | wrong
            answer = visitor.post(path, data=given)
            assert answer.status_code == 422, (path, wrong)
            assert 'role="alert"' in answer.text
            assert f'value="{given["effective_from"]}"' in answer.text


def test_a_request_rate_is_set_and_taken_back(
    visitor: TestClient, operator: Member, victim: Member, app_database: Database
) -> None:
    enter(visitor, operator)
    path = f"/admin/organizations/{victim.tenant.organization_id}"
    assert "As usual: each credential may send 6000 requests" in visitor.get(path).text
    for typed, said in (("120", "may send 120 requests"), ("0", "any number of requests"), ("", "As usual")):
        given = {"csrf_token": token(visitor), "requests_per_minute": typed}
        assert visitor.post(f"{path}/rate", data=given).status_code == 303
        assert said in visitor.get(path).text
    assert acts(app_database, victim)[-1] == (f"operator:{operator.user_id}", "organization.set_rate")
    for wrong in ("-1", "many", "9" * 30):
        answer = visitor.post(f"{path}/rate", data={"csrf_token": token(visitor), "requests_per_minute": wrong})
        assert (answer.status_code, f'value="{wrong}"' in answer.text) == (422, True)


def test_garbage_is_never_our_fault(visitor: TestClient, operator: Member) -> None:
    enter(visitor, operator)
    given = {"csrf_token": token(visitor), "instance_type": "\x00", "max_instances": "9" * 40, "reason": "\x00"}
    for method, route in ROUTES:
        for odd in ("x", "%00", "a" * 500):
            path = route.path.format(organization_id=odd, instance_id=odd)
            query = dict.fromkeys(("text", "status", "kind", "organization", "cursor", "after", "action"), "\x00x")
            answer = visitor.request(method, path, params=query, data=given if method == "POST" else None)
            assert answer.status_code < 500, (method, path)


def test_chosen_jobs_of_others_are_stopped_in_their_audit(
    visitor: TestClient, operator: Member, victim: Member, make_job: Callable[..., UUID], app_database: Database
) -> None:
    ended = make_job(victim.tenant, "over", states.COMPLETED)
    with app_database.unit_of_work(victim.tenant.scope) as session:
        waiting = session.scalars(select(Job).where(Job.status == states.QUEUED)).one().id
    enter(visitor, operator)
    chosen = {"csrf_token": token(visitor), "chosen": [str(waiting), str(ended)]}
    answer = visitor.post("/admin/jobs/stop", data=chosen)
    assert "1 of 2 done" in answer.text
    assert "is completed since" in answer.text
    assert (f"operator:{operator.user_id}", "job.stop") in acts(app_database, victim)
    assert visitor.post("/admin/jobs/stop", data={**chosen, "chosen": str(uuid4())}).status_code == 404
