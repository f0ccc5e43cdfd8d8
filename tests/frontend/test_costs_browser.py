"""The costs room in a real Chromium over a real database: see the month, set a budget, lift its hold, read the bill."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from backend.billing import service as billing
from backend.core.db import Database, act_as
from tests.fixtures.database import Tenant
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.spending import Spender
from tests.frontend.test_browser import axe, overflow

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def member(make_member: Callable[..., Member], spender: Callable[[Tenant], Spender]) -> Member:
    made = make_member()
    spender(made.tenant).two_weeks()
    return made


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


def test_from_the_month_to_a_budget_its_hold_and_the_bill(
    browser: Browser, address: str, member: Member, controller_database: Database
) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="Costs").click()
        expect(page.locator(".chart:not(.is-empty):has(canvas)")).to_have_count(3)
        expect(page.locator("#costs-ahead figcaption")).to_contain_text("80 % probability")
        assert axe(page) == []
        page.get_by_role("link", name="project", exact=True).click()
        page.wait_for_url("**by=project_id")
        page.get_by_role("link", name="Budgets").click()
        page.get_by_role("link", name="New budget").click()
        page.get_by_label("Limit a month").fill("7.50")
        page.get_by_label("Begin nothing new at the limit").check()
        page.get_by_role("button", name="Create the budget").click()
        expect(page.locator("#toasts")).to_contain_text("The budget was created.")
        expect(page.get_by_text("Limit reached")).to_be_visible()
        with controller_database.unit_of_work() as session:
            act_as(session, member.tenant.organization_id)
            assert billing.check_budgets(session, member.tenant.scope) == 1
        page.reload()
        page.get_by_role("button", name="Allow spending again").click()
        assert axe(page) == []
        page.get_by_role("button", name="Allow spending", exact=True).click()
        expect(page.locator("#toasts")).to_contain_text("Spending is allowed again.")
        page.get_by_role("link", name="Invoices").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download CSV").click()
        assert Path(waiting.value.path()).read_text().startswith("project,project_id,resource_kind,")
        assert complaints == []


def test_every_page_of_costs_fits_a_phone(browser: Browser, address: str, member: Member) -> None:
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        for path in ("/costs", "/costs/usage", "/costs/invoices", "/costs/budgets", "/costs/budgets/new"):
            page.goto(path)
            expect(page.locator('.chart[aria-busy="true"]')).to_have_count(0)
            assert (path, overflow(page)) == (path, 0)
            assert axe(page) == []
        assert complaints == []
