"""The settings room in a real Chromium over a real database: a member and a key come and go."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


def test_a_key_is_made_copied_and_revoked_by_its_typed_name(browser: Browser, address: str, member: Member) -> None:
    with visiting(browser, address) as (page, complaints):
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="Settings").click()
        page.get_by_role("link", name="API keys").click()
        page.get_by_role("link", name="New key").click()
        page.locator("main").get_by_label("Name").fill("website")
        page.get_by_label("Ask endpoints for inference").check()
        page.get_by_label("Expires in").select_option(label="30 days")
        assert axe(page) == []
        page.get_by_role("button", name="Create the key").click()
        expect(page.get_by_role("heading", name="website was created")).to_be_visible()
        page.get_by_role("button", name="Copy").first.click()
        expect(page.locator("#toasts")).to_contain_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.locator("#key-token").inner_text()
        assert axe(page) == []
        page.get_by_role("link", name="I have kept them").click()
        page.get_by_role("button", name="Revoke website").click()
        expect(page.get_by_role("button", name="Revoke the key")).to_be_disabled()
        page.get_by_label("Type website to confirm").fill("website")
        page.get_by_role("button", name="Revoke the key").click()
        expect(page.locator("#toasts")).to_contain_text("The key was revoked.")
        expect(page.get_by_role("heading", name="No key yet")).to_be_visible()
        assert complaints == []


def test_a_member_is_added_and_removed_and_every_page_fits_a_phone(
    browser: Browser, address: str, member: Member
) -> None:
    email = f"grace-{uuid4()}@example.com"
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto("/settings/members")
        page.get_by_role("link", name="Add a member").click()
        page.locator("main").get_by_label("Email").fill(email)
        page.locator("main").get_by_label("Name").fill("Grace Hopper")
        page.get_by_label("Role").select_option("viewer")
        page.get_by_role("button", name="Add the member").click()
        expect(page.locator("#initial-password")).not_to_be_empty()
        page.get_by_role("link", name="I have kept it").click()
        page.get_by_role("link", name="Grace Hopper").click()
        assert axe(page) == []
        page.get_by_role("button", name="Remove", exact=True).click()
        page.get_by_label(f"Type {email} to confirm").fill(email)
        page.get_by_role("button", name="Remove the member").click()
        expect(page.locator("#toasts")).to_contain_text("Grace Hopper is no longer a member.")
        for path in ("", "/members", "/members/new", "/keys", "/keys/new", "/tags"):
            page.goto(f"/settings{path}")
            assert (path, overflow(page)) == (path, 0)
            assert axe(page) == []
        assert complaints == []
