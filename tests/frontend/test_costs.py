"""The costs room over a real database: the month, its charts, the bill, usage, budgets and holds."""

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.billing import budgets, explorer
from backend.billing import service as billing
from backend.core.db import Database, act_as
from tests.fixtures.database import Tenant
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.spending import Spender
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
FIGURES = ("days", "ahead", "treemap", "compute", "calls")


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


def enter(visitor: TestClient, member: Member) -> None:
    """Log in, whoever was logged in before."""
    visitor.cookies.delete("modelyard_session")
    form = parse(visitor.get("/login").text).fields
    assert visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD}).status_code == 303


def token(visitor: TestClient) -> dict[str, str]:
    return {"csrf_token": parse(visitor.get("/costs/budgets").text).fields["csrf_token"]}


def page(visitor: TestClient, path: str, code: int = 200) -> str:
    answer = visitor.get(path)
    assert answer.status_code == code
    assert parse(answer.text).refused == []
    return answer.text


def test_nothing_charged_says_what_this_is(visitor: TestClient, member: Member) -> None:
    enter(visitor, member)
    assert "Nothing was charged in this month" in page(visitor, "/costs")
    assert "Nothing was used in this month" in page(visitor, "/costs/usage")
    assert "No lines" in page(visitor, visitor.get("/costs/invoices").headers["location"])
    assert "No budget yet" in page(visitor, "/costs/budgets")
    for name in FIGURES:
        assert visitor.get(f"/costs/figures/{name}").json()["series"] == []
    assert visitor.get("/costs/figures/nothing").status_code == 404


def test_a_month_at_a_glance(visitor: TestClient, member: Member, spender: Callable[[Tenant], Spender]) -> None:
    spends = spender(member.tenant)
    ids = spends.two_weeks()
    enter(visitor, member)
    text = page(visitor, "/costs")
    for name, kind in {"mnist-cnn": "training", "digits-endpoint": "endpoints"}.items():
        assert f'href="/{kind}/{ids[name]}">{name}</a>' in text
    assert "night-shift" in text
    assert "between" in text
    assert "digits-endpoint" not in page(visitor, "/costs?kind=job").split('id="resources"')[1].split("</table>")[0]
    live = visitor.get("/costs", headers={"HX-Request": "true"})
    assert live.text.lstrip().startswith('<div id="now" hx-get="/costs?month=')
    assert "<html" not in live.text
    over = visitor.get("/costs?month=2020-01", headers={"HX-Request": "true"})
    assert (over.status_code, "hx-get" in over.text) == (286, False)
    narrowed = page(visitor, f"/costs?project={member.tenant.project_id}")
    assert "nightly" not in narrowed
    month = f"{spends.now():%Y-%m}"
    shown = visitor.get(f"/costs/figures/days?month={month}&by=project_id").json()
    assert [one["name"] for one in shown["series"]] == ["digits", "night-shift"]
    sums = visitor.get("/costs/figures/ahead").json()
    assert sums["series"][0]["name"] == "Charged"
    assert [one["name"] for one in visitor.get("/costs/figures/treemap").json()["series"]] == ["digits", "night-shift"]
    assert "费用" in visitor.get("/costs", headers={"Accept-Language": "zh-CN"}).text


def test_the_chart_of_days_sums_to_the_charges(
    visitor: TestClient, member: Member, spender: Callable[[Tenant], Spender]
) -> None:
    spends = spender(member.tenant)
    for index in range(9):
        spends.use(f"{index + 1}.5", name=f"job-{index}")
    spends.use("3", kind="endpoint", name="endpoint")
    spends.charge()
    enter(visitor, member)
    days = visitor.get("/costs/figures/days").json()
    assert sum(sum(one["values"]) for one in days["series"]) == pytest.approx(52.5)
    assert [one["name"] for one in days["series"]] == ["Jobs", "Endpoints"]
    assert days["x"][-1] == f"{spends.now():%Y-%m-%d}"
    assert days["final"] is False
    assert visitor.get("/costs/figures/days?month=2020-01").json()["final"] is True
    compute = visitor.get("/costs/figures/compute").json()
    assert (compute["unit"], sum(compute["series"][0]["values"])) == ("seconds", pytest.approx(52.5))


def test_the_forecast_rests_on_full_days(
    member: Member, app_database: Database, spender: Callable[[Tenant], Spender]
) -> None:
    spends = spender(member.tenant)
    now = spends.now()
    spends.use("5", at=now - timedelta(days=2))
    spends.charge()
    with app_database.unit_of_work(member.tenant.scope) as session:
        assert explorer.forecast(session, member.tenant.scope) is None
    spends.two_weeks()
    with app_database.unit_of_work(member.tenant.scope) as session:
        found = explorer.forecast(session, member.tenant.scope)
    assert found is not None
    assert found.rests_on == 12
    assert found.spent <= found.end.low <= found.end.expected <= found.end.high
    assert [one.day for one in found.days] == sorted({one.day for one in found.days})


def test_days_alike_are_forecast_exactly() -> None:
    noon = datetime(2026, 2, 26, 12, tzinfo=UTC)
    days = explorer.project_days([Decimal(2)] * 10, Decimal(51), noon)
    assert [str(one.expected) for one in days] == ["52.0000", "54.0000", "56.0000"]
    assert all(one.low == one.expected == one.high for one in days)
    uneven = explorer.project_days([Decimal(1), Decimal(3), Decimal(2), Decimal(2)], Decimal(51), noon)
    assert uneven[-1].low < Decimal(56) < uneven[-1].high


def test_an_invoice_is_exact_and_the_same_as_its_csv(
    visitor: TestClient, member: Member, spender: Callable[[Tenant], Spender]
) -> None:
    spends = spender(member.tenant)
    spends.use("1.005", name="=HYPERLINK(1)")
    spends.use("2.004", name="second")
    spends.charge()
    spends.use("7", name="waits", at=spends.now() - timedelta(days=120))
    enter(visitor, member)
    month = f"{spends.now():%Y-%m}"
    text = page(visitor, f"/costs/invoices/{month}")
    assert "1.005 s" in text
    assert "\N{MULTIPLICATION SIGN} 1" in text
    assert "3.009" in text
    download = visitor.get(f"/costs/invoices/{month}.csv")
    rows = list(csv.reader(io.StringIO(download.text)))
    assert [row[4] for row in rows[1:3]] == ["second", "'=HYPERLINK(1)"]
    assert rows[-1][-2:] == ["3.009", "3"]
    assert rows[0][7:] == ["quantity", "unit", "unit_price_usd", "amount_usd", "rounded_usd"]
    assert visitor.get("/costs/invoices/2026-13").status_code == 422
    assert visitor.get("/costs/invoices/nonsense.csv").status_code == 422


def test_much_of_a_month_comes_after_its_page(
    visitor: TestClient, member: Member, spender: Callable[[Tenant], Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.views.costs.MANY", 1)
    spends = spender(member.tenant)
    spends.use("1.005", name="first-job")
    spends.use("2.004", name="second-job")
    spends.charge()
    enter(visitor, member)
    bill = f"/costs/invoices/{spends.now():%Y-%m}"
    text = page(visitor, bill)
    assert "Being summed up" in text
    assert "3.009" in text
    assert "second-job" not in text
    part = visitor.get(bill, headers={"HX-Request": "true"}).text
    assert part.strip().startswith('<div id="bill"')
    assert "second-job" in part
    assert "Being summed up" not in part
    text = page(visitor, "/costs")
    assert "Being summed up" in text
    assert "second-job" not in text
    part = visitor.get("/costs", headers={"HX-Request": "true", "HX-Target": "largest"}).text
    assert 'id="largest"' in part
    assert part.index("second-job") < part.index("first-job")


def test_usage_is_listed_page_by_page(
    visitor: TestClient, member: Member, spender: Callable[[Tenant], Spender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.pages.costs.PAGE_SIZE", 2)
    spends = spender(member.tenant)
    for index in range(3):
        spends.use("60", name=f"job-{index}", at=spends.now() - timedelta(seconds=index))
    enter(visitor, member)
    first = page(visitor, "/costs/usage")
    assert "not yet" in first
    assert "no price is set" in first
    assert "job-2" not in first
    older = next(link for link in first.split('href="') if "cursor=" in link).split('"')[0].replace("&amp;", "&")
    assert "job-2" in page(visitor, older)
    assert visitor.get("/costs/usage?cursor=made-up").status_code == 422
    assert "Nothing of this kind" in page(visitor, "/costs/usage?kind=endpoint")


def test_another_organization_sees_nothing_of_it(
    visitor: TestClient, member: Member, make_member: Callable[..., Member], spender: Callable[[Tenant], Spender]
) -> None:
    theirs = make_member()
    spender(theirs.tenant).two_weeks()
    enter(visitor, member)
    assert "mnist-cnn" not in page(visitor, "/costs")
    assert "mnist-cnn" not in page(visitor, "/costs/usage")
    for path in ("/costs", "/costs/usage", "/costs/figures/days"):
        assert visitor.get(f"{path}?project={theirs.tenant.project_id}").status_code == 404
        assert visitor.get(f"{path}?project=none").status_code == 404
        assert visitor.get(f"{path}?month=2026-00").status_code == 422


def made(database: Database, tenant: Tenant) -> list[budgets.BudgetStatus]:
    with database.unit_of_work(tenant.scope) as session:
        return budgets.list_budgets(session, tenant.scope)


def test_a_budget_is_made_changed_and_deleted(visitor: TestClient, member: Member, app_database: Database) -> None:
    enter(visitor, member)
    form = token(visitor) | {"amount": "", "alert_percents.0": "0", "project_id": "", "tags:lines": "team"}
    wrong = visitor.post("/costs/budgets", data=form)
    assert wrong.status_code == 422
    assert "Write one key=value per line." in wrong.text
    wrong = visitor.post("/costs/budgets", data=form | {"tags:lines": ""})
    assert "It must be at least 1." in wrong.text
    assert "This is needed." in wrong.text
    foreign = form | {"amount": "10", "alert_percents.0": "", "tags:lines": "", "project_id": str(uuid4())}
    refused = visitor.post("/costs/budgets", data=foreign)
    assert (refused.status_code, "There is no project" in refused.text) == (422, True)
    good = foreign | {"project_id": str(member.tenant.project_id), "hold_at_limit:flag": "true"}
    assert visitor.post("/costs/budgets", data=good).headers["location"] == "/costs/budgets"
    assert "The budget was created." in page(visitor, "/costs/budgets")
    (status,) = made(app_database, member.tenant)
    assert (status.budget.alert_percents, status.budget.hold_at_limit) == ([], True)
    path = f"/costs/budgets/{status.budget.id}"
    assert 'value="10"' in page(visitor, path)
    change = token(visitor) | {"amount": "25.5", "alert_percents.0": "70", "tags:lines": "team=vision"}
    assert visitor.post(path, data=change | {"amount": "-1"}).status_code == 422
    assert visitor.post(path, data=change | {"amount": " "}).status_code == 422
    assert visitor.post(path, data=change).status_code == 303
    (status,) = made(app_database, member.tenant)
    assert (status.budget.amount, status.budget.alert_percents) == (Decimal("25.5"), [70])
    assert status.budget.tags == {"team": "vision"}
    assert visitor.post(f"{path}/delete", data=token(visitor)).status_code == 303
    assert made(app_database, member.tenant) == []
    assert visitor.get(path).status_code == 404


def test_a_budget_shows_its_alerts_and_its_hold_is_lifted(
    visitor: TestClient,
    member: Member,
    app_database: Database,
    controller_database: Database,
    spender: Callable[[Tenant], Spender],
) -> None:
    spends = spender(member.tenant)
    spends.use("8")
    spends.charge()
    enter(visitor, member)
    for amount in ("10", "8"):
        form = token(visitor) | {"amount": amount, "alert_percents.0": "80", "hold_at_limit:flag": "true"}
        assert visitor.post("/costs/budgets", data=form).status_code == 303
    with controller_database.unit_of_work() as session:
        act_as(session, member.tenant.organization_id)
        assert billing.check_budgets(session, member.tenant.scope) == 1
    text = page(visitor, "/costs/budgets")
    assert "Past 80 %" in text
    assert "Limit reached" in text
    assert "Nothing new begins in the whole organization." in text
    assert "Spending is on hold" in page(visitor, "/costs")
    with app_database.unit_of_work(member.tenant.scope) as session:
        (hold,) = budgets.list_holds(session, member.tenant.scope)
    assert visitor.post(f"/costs/holds/{hold.id}/lift", data=token(visitor)).status_code == 303
    assert "Spending is on hold" not in page(visitor, "/costs/budgets")
    assert visitor.post(f"/costs/holds/{hold.id}/lift", data=token(visitor)).status_code == 404


def test_budgets_are_for_those_who_may(
    visitor: TestClient, member: Member, make_member: Callable[..., Member], app_database: Database
) -> None:
    enter(visitor, member)
    assert visitor.post("/costs/budgets", data=token(visitor) | {"amount": "5"}).status_code == 303
    (status,) = made(app_database, member.tenant)
    path = f"/costs/budgets/{status.budget.id}"
    for stranger, code in ((make_member(), 404), (make_member("developer"), 403), (make_member("viewer"), 403)):
        enter(visitor, stranger)
        given = token(visitor)
        assert visitor.get(path).status_code == 404
        for post in (path, f"{path}/delete", f"/costs/holds/{uuid4()}/lift"):
            assert visitor.post(post, data=given | {"amount": "1"}).status_code == code
        assert visitor.get("/costs/budgets/new").status_code == (200 if code == 404 else 403)
    assert visitor.post("/costs/budgets", data={"amount": "5"}).status_code == 403
    assert [UUID(str(one.budget.id)) for one in made(app_database, member.tenant)] == [status.budget.id]
