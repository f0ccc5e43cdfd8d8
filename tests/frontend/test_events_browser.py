"""Webhooks and lineage in a real Chromium: the main ways by clicks, at two widths."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from backend.core.db import Database
from tests.events.receiver import Receiver
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow
from tests.frontend.test_webhooks import backstage, control, event_settings, receiver  # noqa: F401 - fixtures
from tests.lineage.chain import Chain

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("SHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


def look(page: Page, name: str) -> None:
    """Nothing is wider than the window; a picture where somebody asks for one."""
    assert overflow(page) <= 0
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def make_a_webhook(page: Page, target: str, width: int) -> None:
    """Through the form, wrongly first; the page that shows the secret is left open."""
    page.goto("/settings/webhooks")
    look(page, f"webhooks-none-{width}")
    page.get_by_role("link", name="New webhook").first.click()
    page.get_by_label("Target").fill("https://localhost/hook")
    page.get_by_role("button", name="Create webhook").click()
    expect(page.locator(".field-error")).to_contain_text("Localhost is not a public host")
    look(page, f"webhooks-new-{width}")
    assert axe(page) == []
    page.get_by_label("Target").fill(target)
    page.get_by_label("Everything about endpoints").check()
    page.get_by_role("button", name="Create webhook").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    look(page, f"webhooks-secret-{width}")
    assert axe(page) == []


def look_at_the_log(page: Page, target: str, width: int) -> None:
    """The log and its filters, then the subscription."""
    page.goto("/settings/webhooks/deliveries")
    expect(page.get_by_role("link", name="test.sent")).to_be_visible()
    look(page, f"webhooks-log-{width}")
    page.get_by_label("State").select_option("delivered")
    expect(page.get_by_text("No delivery matches these filters")).to_be_visible()
    page.goto("/settings/webhooks")
    page.get_by_role("link", name=target).click()
    look(page, f"webhooks-one-{width}")
    assert axe(page) == []


@pytest.mark.parametrize("width", [1440, 390])
def test_make_a_webhook_send_a_test_and_delete_it(
    browser: Browser,
    address: str,
    member: Member,
    receiver: Receiver,  # noqa: F811 - the fixture
    control: Callable[[], None],  # noqa: F811 - the fixture
    width: int,
) -> None:
    with visiting(browser, address, width=width) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        make_a_webhook(page, receiver.url, width)
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#going")).to_contain_text("It is sent in a moment.")
        receiver.answers.append(500)
        control()
        expect(page.locator("#going")).to_contain_text("The last attempt failed: answered 500")
        look(page, f"webhooks-delivery-{width}")
        assert axe(page) == []
        look_at_the_log(page, receiver.url, width)
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete it").click()
        expect(page.locator("#toasts")).to_contain_text("The subscription was deleted.")
        assert [each for each in complaints if "422" not in each] == []


@pytest.mark.parametrize("width", [1440, 390])
def test_walk_a_lineage_by_clicks(
    browser: Browser, address: str, member: Member, controller_database: Database, width: int
) -> None:
    chain = Chain(member.tenant, controller_database).build()
    with visiting(browser, address, width=width, scheme="light" if width > 400 else "dark") as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto(f"/lineage/model_version/{chain.ids['fp32']}")
        look(page, f"lineage-{width}")
        assert axe(page) == []
        if width > 400:
            page.locator("svg.lineage a", has_text="digits v1").click()
        else:
            page.locator(".lineage-tree").get_by_role("link", name="digits v1").first.click()
        expect(page.get_by_role("heading", name="Lineage of digits v1")).to_be_visible()
        look(page, f"lineage-data-{width}")
        page.goto(f"/lineage/endpoint/{chain.ids['endpoint']}")
        look(page, f"lineage-endpoint-{width}")
        assert complaints == []
