"""The start page, the search field and the admin console in a real Chromium."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from uuid import UUID

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from backend.core.db import Database
from backend.identity import operators
from backend.jobs import states
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_admin import spend
from tests.frontend.test_browser import axe, overflow

pytestmark = [pytest.mark.browser, pytest.mark.integration]
PAGES = ("/", "/admin", "/admin/organizations", "/admin/jobs", "/admin/instances", "/admin/prices", "/admin/health",
         "/admin/audit")  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def operator(
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    app_database: Database,
    controller_database: Database,
) -> Member:
    """An operator whose organization has jobs and costs."""
    member = make_member()
    with controller_database.unit_of_work() as session:
        operators.grant(session, member.email, by="system:test")
    make_job(member.tenant, "ocean-cnn")
    make_job(member.tenant, "ocean-int8", states.FAILED)
    make_job(member.tenant, "deep-ocean", states.COMPLETED)
    spend(app_database, controller_database, member, Decimal(5))
    return member


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


def options(page: Page) -> list[str]:
    return [one.inner_text().split("\n")[0] for one in page.locator("#search-results [role=option]").all()]


def test_search_by_keyboard_alone(browser: Browser, address: str, operator: Member) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, operator.email, PASSWORD, to="/")
        expect(page.get_by_role("heading", name="First steps")).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("ocean")
        expect(page.locator("#search-results [role=option]")).to_have_count(3)
        assert options(page) == ["ocean-cnn", "ocean-int8", "deep-ocean"]
        assert axe(page) == []
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        chosen = page.locator('#search-results [aria-selected="true"]')
        expect(chosen).to_contain_text("ocean-int8")
        expect(page.locator("#search")).to_have_attribute("aria-activedescendant", chosen.get_attribute("id") or "")
        page.keyboard.press("Escape")
        expect(page.locator("#search-results")).to_be_hidden()
        page.keyboard.press("ArrowUp")
        expect(page.locator('#search-results [aria-selected="true"]')).to_contain_text("deep-ocean")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="deep-ocean")).to_be_visible()
        page.wait_for_load_state()
        page.keyboard.press("Control+k")
        page.keyboard.type("nothing-like-it")
        expect(page.get_by_text("Nothing has this name.")).to_be_visible()
        assert complaints == []


def test_an_operator_finds_the_console_and_suspends_an_organization(
    browser: Browser, address: str, operator: Member
) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, operator.email, PASSWORD, to="/")
        page.get_by_label("Account of Ada Owner").click()
        page.get_by_role("link", name="Admin console").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(1)
        page.get_by_role("link", name="Organizations", exact=True).first.click()
        page.get_by_label("Name or account").fill(str(operator.tenant.organization_id))
        page.get_by_role("link", name=f"Organization {operator.tenant.organization_id}", exact=True).click()
        page.get_by_label("At most").fill("-1")
        page.get_by_role("button", name="Set the quota").click()
        expect(page.locator(".field-error")).to_have_text("It must be at least 0.")
        page.get_by_label("At most").fill("2")
        page.get_by_role("button", name="Set the quota").click()
        expect(page.locator("#toasts")).to_contain_text("The quota was changed.")
        page.get_by_label("Reason").fill("unpaid bills")
        page.get_by_role("button", name="Stop new spending").click()
        expect(page.locator(".going")).to_contain_text("suspended by the platform: unpaid bills")
        page.get_by_role("link", name="Instances").last.click()
        page.get_by_role("button", name="Drain").first.click()
        page.get_by_role("button", name="Drain it").click()
        expect(page.locator("#toasts")).to_contain_text("The instance drains")
        expect(page.locator("#instances")).to_contain_text("Draining")
        page.get_by_role("link", name="Back to").click()
        expect(page.locator("#attention")).to_be_visible()
        expect(page.locator("#now")).to_contain_text("unpaid bills")
        assert [one for one in complaints if "422" not in one] == []


@pytest.mark.parametrize("width", [1440, 390])
def test_a_price_is_changed_in_two_steps(browser: Browser, address: str, operator: Member, width: int) -> None:
    with visiting(browser, address, width=width) as (page, complaints):
        log_in(page, operator.email, PASSWORD, to="/admin/prices")
        page.get_by_label("SKU").select_option("inference:call")
        page.get_by_label("Price of a unit").fill("-1")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.locator(".field-error")).to_contain_text("at least 0")
        page.get_by_label("Price of a unit").fill("0.0000005")
        page.get_by_label("From").fill(f"21{width % 100:02}-01-01T00:00")
        page.get_by_role("button", name="See what it changes").click()
        expect(page.locator(".going")).to_contain_text("$0.5000 a million")
        assert axe(page) == []
        assert overflow(page) <= 0
        page.get_by_role("button", name="Set the price from that moment").click()
        expect(page.locator("#toasts")).to_contain_text("inference:call has its new price.")
        assert [one for one in complaints if "422" not in one] == []


@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_is_accessible_and_fits(browser: Browser, address: str, operator: Member, width: int) -> None:
    with visiting(browser, address, width=width) as (page, complaints):
        log_in(page, operator.email, PASSWORD, to="/")
        found = {}
        for path in (*PAGES, f"/admin/organizations/{operator.tenant.organization_id}"):
            page.goto(path)
            found[path] = [*(axe(page) if width == 1440 else []), *([] if overflow(page) <= 0 else ["too wide"])]
        assert {path: wrong for path, wrong in found.items() if wrong} == {}
        assert complaints == []
