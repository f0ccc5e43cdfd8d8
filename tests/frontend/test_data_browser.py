"""Data in a real Chromium: a dataset is made, filled, frozen and compared by clicks; uploads survive what happens."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, Route, expect

from tests.datasets.files import archive, digits, png
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow

pytestmark = [pytest.mark.integration, pytest.mark.browser]
SMALL_PART = 1024


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with serving(app) as found:
        yield found


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


def zipped(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    target = folder / name
    target.write_bytes(archive(members))
    return target


def new_dataset(page: Page, name: str) -> None:
    page.goto("/data")
    page.get_by_role("link", name="New dataset").first.click()
    page.get_by_role("textbox", name="Name").fill(name)
    page.get_by_role("button", name="Create the dataset").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def in_small_parts(route: Route) -> None:
    """The same request of the page, with parts small enough that a test's file has many."""
    wanted: dict[str, Any] = json.loads(route.request.post_data or "{}")
    route.continue_(post_data=json.dumps(wanted | {"part_size_bytes": SMALL_PART}))


def stalling(sent: list[str]) -> Callable[[Route], None]:
    """The third part loses its connection, and after six no part gets through: they wait until the page gives up."""

    def handle(route: Route) -> None:
        sent.append(route.request.url)
        if len(sent) == 3:
            route.abort("connectionreset")
        elif len(sent) <= 6:
            route.continue_()

    return handle


def test_from_an_empty_list_to_compared_versions(
    browser: Browser, address: str, member: Member, tmp_path: Path
) -> None:
    first = zipped(tmp_path, "first.zip", digits(3, 10))
    second = zipped(tmp_path, "second.zip", {f"3/{n}.png": png(100 + n) for n in range(5)})
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        new_dataset(page, "numbers")
        page.locator("#upload-files").set_input_files([first])
        expect(page.locator(".transfer")).to_have_attribute("data-state", "done", timeout=20_000)
        expect(page.locator("#facts")).to_contain_text("30 files under 3 labels")
        expect(page.locator("#recent")).to_contain_text("Added")
        expect(page.locator("#classes.chart:not(.is-empty) canvas")).to_have_count(1)
        page.get_by_role("link", name="Freeze a version").first.click()
        expect(page.locator("#plan")).to_contain_text("24")
        page.get_by_label("Sizes are given as").select_option("files")
        for split, files in (("Train", "12"), ("Validation", "6"), ("Test", "3")):
            page.get_by_role("spinbutton", name=split).fill(files)
        expect(page.locator("#plan .tile").last).to_have_text("Left out9")
        page.wait_for_load_state("networkidle")
        page.get_by_role("button", name="Freeze the version").click()
        expect(page.locator("#toasts")).to_contain_text("Version 1 of numbers is frozen.")
        expect(page.locator(".thumb img")).to_have_count(21)
        expect(page.locator("#classes.chart:not(.is-empty) canvas")).to_have_count(1)
        page.locator("#filter-split").select_option("test")
        expect(page.locator(".thumb img")).to_have_count(3)
        assert page.locator(".thumb img").first.evaluate("image => image.naturalWidth") == 8
        found = axe(page)
        page.get_by_role("link", name="numbers").click()
        page.locator("#upload-files").set_input_files([second])
        expect(page.locator("#facts")).to_contain_text("35 files under 4 labels", timeout=20_000)
        found += axe(page)
        page.get_by_role("link", name="Freeze a version").first.click()
        found += axe(page)
        page.get_by_role("button", name="Freeze the version").click()
        page.get_by_role("link", name="Compare").click()
        expect(page.get_by_role("link", name="Added 14")).to_be_visible()
        found += axe(page)
        assert found == []
        assert complaints == []


def test_an_upload_survives_a_pause_a_reload_and_a_lost_connection(
    browser: Browser, address: str, member: Member, tmp_path: Path
) -> None:
    file = zipped(tmp_path, "long.zip", digits(4, 12))
    parts = -(-file.stat().st_size // SMALL_PART)
    sent: list[str] = []
    stored: list[str] = []
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        new_dataset(page, "patient")

        page.on("response", lambda answer: stored.append(answer.url) if "/parts/" in answer.url else None)
        page.route("**/api/v1/datasets/*/uploads", in_small_parts)
        page.route("**/parts/*", stalling(sent))
        page.locator("#upload-files").set_input_files([file])
        row = page.locator(".transfer")
        expect(row.get_by_role("status")).to_contain_text("Sending")
        while len(stored) < 5:
            page.wait_for_timeout(50)
        row.get_by_role("button", name="Pause").click()
        expect(row).to_have_attribute("data-state", "paused")
        expect(page.locator("#waiting")).to_contain_text(f"5 of {parts} parts")
        page.reload()
        expect(page.locator("#waiting")).to_contain_text("long.zip")
        page.unroute("**/parts/*")
        before = len(sent)
        page.on("request", lambda request: sent.append(request.url) if "/parts/" in request.url else None)
        page.locator("#upload-files").set_input_files([file])
        expect(row).to_have_attribute("data-state", "done", timeout=20_000)
        assert len(sent) - before == parts - 5
        expect(page.locator("#facts")).to_contain_text("48 files under 4 labels")
        expect(page.locator("#waiting")).to_be_hidden()
        assert [one for one in complaints if "ERR_CONNECTION_RESET" not in one] == []


def test_what_cannot_be_taken_says_why_and_single_images_need_a_label(
    browser: Browser, address: str, member: Member, tmp_path: Path
) -> None:
    bad = zipped(tmp_path, "bad.zip", {"0/notes.txt": b"x", "1/b.png": b"no image"})
    single, text = tmp_path / "one.png", tmp_path / "readme.md"
    single.write_bytes(png(7))
    text.write_text("not data")
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        new_dataset(page, "careful")
        page.locator("#upload-files").set_input_files([bad, text, single])
        expect(page.locator(".transfer").nth(1)).to_contain_text("Files of this kind are not taken")
        expect(page.locator("#recent")).to_contain_text("Convert these files to PNG or JPEG", timeout=20_000)
        expect(page.locator(".transfer").first).to_contain_text("Refused, nothing was added")
        expect(page.get_by_role("alert")).to_contain_text("Say the label")
        page.get_by_label("Label of single files").fill("seven")
        page.get_by_role("button", name="Start the upload").click()
        expect(page.locator("#facts")).to_contain_text("1 file under 1 label", timeout=20_000)
        assert overflow(page) <= 0
        assert [one for one in complaints if "422" not in one] == []


def test_a_dataset_and_a_project_go_once_their_name_is_typed(browser: Browser, address: str, member: Member) -> None:
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto("/projects")
        found = axe(page)
        page.get_by_role("link", name="New project").click()
        page.get_by_role("textbox", name="Name").fill("short lived")
        page.get_by_role("button", name="Create the project").click()
        expect(page.locator("#field-name-error")).to_be_visible()
        found += axe(page)
        page.get_by_role("textbox", name="Name").fill("short-lived")
        page.get_by_role("button", name="Create the project").click()
        found += axe(page)
        page.get_by_role("link", name="New dataset").click()
        expect(page.locator("#field-project_id")).to_contain_text("short-lived")
        page.get_by_role("textbox", name="Name").fill("brief")
        page.get_by_role("button", name="Create the dataset").click()
        assert overflow(page) <= 0
        page.get_by_role("link", name="Edit").click()
        page.get_by_role("button", name="Delete the dataset").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Delete the dataset")).to_be_disabled()
        dialog.get_by_label("Type brief to confirm").fill("brief")
        dialog.get_by_role("button", name="Delete the dataset").click()
        expect(page.locator("#toasts")).to_contain_text("Dataset brief was deleted.")
        found += axe(page)
        page.goto("/projects")
        page.get_by_role("link", name="short-lived").click()
        page.get_by_role("button", name="Delete the project").first.click()
        page.get_by_role("dialog").get_by_label("Type short-lived to confirm").fill("short-lived")
        page.get_by_role("dialog").get_by_role("button", name="Delete the project").click()
        expect(page.locator("#toasts")).to_contain_text("Project short-lived was deleted.")
        assert found == []
        assert [one for one in complaints if "422" not in one] == []
