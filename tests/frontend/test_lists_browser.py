"""Choosing rows of a list by clicks: the question names them, each has a result, the list is read again."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from backend.core.db import Database
from backend.core.ids import new_id
from backend.datasets.models import Dataset
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


def test_datasets_are_ordered_chosen_and_deleted(
    browser: Browser, address: str, member: Member, app_database: Database
) -> None:
    with app_database.unit_of_work(member.tenant.scope) as session:
        for name in ("first", "second", "third"):
            session.add(
                Dataset(id=new_id(), organization_id=member.tenant.organization_id, description="", tags={},
                        project_id=member.tenant.project_id, name=name, kind="image", created_by="user:test")
            )  # fmt: skip
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto("/data")
        page.get_by_role("link", name="Name", exact=True).click()
        expect(page.locator("#datasets .name").first).to_have_text("first")
        page.get_by_label("Choose all rows of this page").check()
        page.get_by_label("Choose second").uncheck()
        page.get_by_role("button", name="Delete", exact=True).click()
        dialog = page.get_by_role("dialog")
        middle = dialog.evaluate("node => { const box = node.getBoundingClientRect(); return box.x + box.width / 2; }")
        assert abs(middle - 720) < 2
        assert dialog.evaluate("node => node.scrollWidth - node.clientWidth") == 0
        expect(dialog.get_by_role("listitem")).to_have_text(["first", "third"])
        assert axe(page) == []
        expect(dialog.get_by_role("button", name="Delete the datasets")).to_be_disabled()
        dialog.get_by_label("Type how many rows it is to confirm").fill("2")
        dialog.get_by_role("button", name="Delete the datasets").click()
        expect(page.locator("#outcomes")).to_contain_text("2 of 2 done")
        expect(page.locator("#datasets .name")).to_have_text(["second"])
        expect(page.locator(".chosen")).to_be_hidden()
        assert axe(page) == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert overflow(page) == 0
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator("#outcomes")).to_be_empty()
        assert complaints == []
