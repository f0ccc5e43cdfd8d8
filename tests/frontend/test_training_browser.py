"""The training room by clicks: launch with the price before the button, choose, compare, look into a log, stop."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from backend.billing import service as billing
from backend.core.db import Database
from backend.core.storage import ObjectStore
from backend.jobs import states
from backend.jobs.models import Attempt
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member, write_log
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow
from tests.frontend.training_room import SHAPE, freeze, known_kinds, ran  # noqa: F401 - fixtures

pytestmark = [pytest.mark.integration, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


@pytest.fixture
def member(
    make_member: Callable[..., Member],
    freeze: Callable[..., UUID],  # noqa: F811 - a fixture
    ran: Callable[..., None],  # noqa: F811 - a fixture
    controller_database: Database,
) -> Member:
    """A developer with a dataset version, a price, and a training that completed."""
    made = make_member("developer")
    version = freeze(made.tenant)
    with controller_database.unit_of_work() as session:
        sku = f"instance:{SHAPE}:on-demand"
        if billing.price_in_force(session, sku) is None:
            billing.set_price(session, sku, Decimal("0.001"), datetime(2026, 1, 1, tzinfo=UTC))
    ran(made, version, seconds=60, epochs=15)
    return made


def unforeseen(complaints: list[str]) -> list[str]:
    """Without the refused form, which a browser reports, and polls that a click on a link has cut off."""
    return [one for one in complaints if "422" not in one and not one.startswith("error: htmx:")]


def test_a_training_is_started_from_the_form(browser: Browser, address: str, member: Member) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="Start a training").click()
        button = page.get_by_role("button", name="Start training")
        page.get_by_label("Instance type").select_option(SHAPE)
        expect(button).to_have_text("Start training · about $0.0600")
        page.get_by_label("Epochs", exact=True).fill("30")
        expect(button).to_have_text("Start training · about $0.0600 to $0.1200")
        expect(page.locator("#launch-command")).to_contain_text("--set epochs=30")
        assert axe(page) == []
        page.get_by_role("textbox", name="Name").fill("no spaces")
        page.get_by_role("textbox", name="Model").fill("digits")
        button.click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Epochs", exact=True)).to_have_value("30")
        page.get_by_role("textbox", name="Name").fill("by-clicks")
        button.click()
        expect(page.locator("#toasts")).to_contain_text("by-clicks is queued.")
        expect(page.get_by_role("heading", name="by-clicks")).to_be_visible()
        page.get_by_role("link", name="Clone and change").click()
        expect(page.get_by_role("textbox", name="Name")).to_have_value("by-clicks-2")
        expect(page.get_by_label("Epochs", exact=True)).to_have_value("30")
        assert unforeseen(complaints) == []


def test_jobs_are_chosen_compared_and_stopped(
    browser: Browser, address: str, member: Member, make_job: Callable[..., UUID]
) -> None:
    for name in ("one", "two"):
        make_job(member.tenant, name)
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_label("Choose one").check()
        page.get_by_label("Choose two").check()
        page.wait_for_timeout(2500)  # the list has refreshed itself, and what was ticked still is
        expect(page.get_by_label("Choose one")).to_be_checked()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(2)
        expect(page.locator("#asked .differs")).to_contain_text(["instance_type"])
        page.get_by_label("Only what differs").check()
        expect(page.locator("#asked .same").first).to_be_hidden()
        assert axe(page) == []
        page.go_back()
        page.get_by_label("Choose one").check()
        page.get_by_label("Choose two").check()
        page.get_by_role("group", name="Chosen rows").get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Stop the jobs").click()
        expect(page.locator("#outcomes")).to_contain_text("2 of 2 done")
        assert complaints == []


def test_the_log_is_searched_and_a_job_is_run_again(
    browser: Browser,
    address: str,
    member: Member,
    make_job: Callable[..., UUID],
    app_database: Database,
    storage: ObjectStore,
) -> None:
    job = make_job(member.tenant, "talks", states.COMPLETED)
    with app_database.unit_of_work(member.tenant.scope) as session:
        attempt = session.scalars(select(Attempt).where(Attempt.job_id == job)).one()
        for seq in range(3, 20):
            write_log(session, storage, member.tenant, attempt, seq=seq, lines=[f"epoch {seq}", "hay"] * 50)
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="talks").click()
        expect(page.locator("[data-log] .log-line")).to_have_count(400)
        page.wait_for_load_state()  # the script that asks is there
        page.get_by_placeholder("Search the whole log").fill("epoch 4")
        expect(page.locator("#log-found .log-line")).to_have_count(50)
        expect(page.locator("[data-log]")).to_be_hidden()
        assert axe(page) == []
        page.get_by_placeholder("Search the whole log").fill("")
        expect(page.locator("[data-log]")).to_be_visible()
        page.get_by_role("button", name="Run again").click()
        expect(page.get_by_role("textbox", name="Name")).to_have_value("talks-2")
        page.get_by_role("button", name="Cancel").click()
        assert complaints == []


def test_every_page_fits_a_phone(browser: Browser, address: str, member: Member, make_job: Callable[..., UUID]) -> None:
    first, second = (make_job(member.tenant, name, states.COMPLETED) for name in ("one", "two"))
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        for path in ("/training", "/training/new", f"/training/{first}", f"/training/compare?job={first}&job={second}"):
            page.goto(path)
            _open_all(page)
            assert overflow(page) <= 0, path
        assert complaints == []


def _open_all(page: Page) -> None:
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")
