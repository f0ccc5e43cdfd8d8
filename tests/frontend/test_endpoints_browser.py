"""A person makes an endpoint, draws a digit, moves the split and deletes it, in a real Chromium."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from tests.endpoints.conftest import World, control_context, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.endpoints import DIGITS, serving_plane
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow
from tests.frontend.test_playground import reach

pytestmark = [pytest.mark.browser, pytest.mark.integration]
TABS = ("", "/variants", "/playground", "/snippets", "/events", "/cost")


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def world(make_world: Callable[[Tenant], World], member: Member) -> World:  # noqa: F811 - the fixture
    return make_world(member.tenant)


def make_endpoint(page: Page) -> UUID:
    """By the form, with two variants."""
    page.goto("/endpoints")
    page.get_by_role("link", name="Create the first endpoint").click()
    page.get_by_label("Name", exact=True).fill("digits")
    page.get_by_label("Instance type").select_option("test.endpoints")
    page.get_by_role("button", name="Add a variant").click()
    second = page.get_by_role("group", name="Variant 2")
    second.get_by_label("Variant", exact=True).fill("int8")
    second.get_by_label("Model version").select_option(index=2)
    second.get_by_label("Weight").fill("100")
    expect(page.locator("#same-cli")).to_contain_text("--variant int8=")
    page.get_by_role("button", name="Create endpoint").click()
    expect(page.locator("#toasts")).to_contain_text("Endpoint digits was created")
    return UUID(page.url.rpartition("/")[2])


def draw(page: Page) -> None:
    """A bright line across the middle, by mouse; then one more by keyboard."""
    canvas = page.locator("[data-canvas]")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 150, steps=6)
    page.mouse.up()
    canvas.focus()
    for key in (" ", "ArrowRight", "ArrowRight", " "):
        page.keyboard.press(key)
    expect(page.locator("[data-canvas-state]")).to_contain_text("Pen up")


def test_make_ask_split_delete(site: FastAPI, member: Member, world: World, tmp_path: Path) -> None:
    for _ in range(2):
        world.make_version(DIGITS)
    with serving(site) as address, chromium() as browser, visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        endpoint = make_endpoint(page)
        with serving_plane(world, endpoint, tmp_path) as plane:
            reach(site, plane.settings)
            expect(page.locator("#going")).to_contain_text("In service")
            page.get_by_role("link", name="Playground").click()
            plane.sync()
            draw(page)
            page.get_by_role("button", name="Ask the endpoint").click()
            expect(page.locator(".answer-best")).to_contain_text("5")
            expect(page.locator("#answer .bars li")).to_have_count(10)
            assert axe(page) == []
            page.get_by_role("link", name="Variants").click()
            page.get_by_label("Share of int8 in percent").fill("80")
            expect(page.locator("[data-slider=main] .slider-number")).to_have_value("20")
            expect(page.locator("[data-slider-says]")).to_contain_text("int8: 80% of the calls")
            page.get_by_role("button", name="Change the split").click()
            expect(page.locator("#toasts")).to_contain_text("The weights were changed")
            for tab in TABS:
                page.goto(f"/endpoints/{endpoint}{tab}")
                assert axe(page) == [], tab
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_label("Type digits to confirm").fill("digits")
        page.get_by_role("button", name="Delete the endpoint").click()
        expect(page.locator("#going")).to_contain_text("Deleting")
        assert "\n".join(complaints) == ""
        page.set_viewport_size({"width": 390, "height": 844})
        wide = []
        for path in ("/endpoints", "/endpoints/new", *(f"/endpoints/{endpoint}{tab}" for tab in TABS)):
            page.goto(path)
            wide += [path] if overflow(page) > 0 else []
        assert wide == []
