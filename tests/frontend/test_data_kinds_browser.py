"""A table by clicks: made, filled from a file, looked at, frozen; and a form of imports that explains itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, expect

from tests.datasets.files import Uploader
from tests.datasets.tables import csv_of, json_lines, paragraphs
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow

pytestmark = [pytest.mark.integration, pytest.mark.browser]


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
    return make_member("developer")


def clean(page: Page) -> None:
    assert axe(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(200)
    assert overflow(page) == 0
    page.set_viewport_size({"width": 1440, "height": 900})


def test_a_table_is_made_filled_and_frozen(browser: Browser, address: str, member: Member, tmp_path: Path) -> None:
    wine = tmp_path / "wine.csv"
    wine.write_bytes(csv_of("wine"))
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto("/data/new")
        page.get_by_label("Name", exact=True).fill("wines")
        page.get_by_label("Kind").select_option("tabular")
        page.get_by_text("Advanced").click()
        page.get_by_label("Target column").fill("target")
        page.get_by_role("button", name="Create the dataset").click()
        expect(page.get_by_text("What it holds appears here")).to_be_visible()
        page.locator("#upload-files").set_input_files(wine)
        expect(page.get_by_text("178 rows of 14 columns")).to_be_visible(timeout=20_000)
        expect(page.get_by_text("mean 13.001 ± 0.8095")).to_be_visible()
        page.reload()
        clean(page)
        page.get_by_role("link", name="Freeze a version").click()
        page.get_by_role("button", name="Freeze the version").click()
        expect(page.get_by_text("train.parquet")).to_be_visible()
        page.reload()
        expect(page.get_by_text("train.parquet")).to_be_visible()
        clean(page)
        assert complaints == []


def test_texts_and_imports_are_clean(
    browser: Browser, address: str, member: Member, make_client: Callable[..., TestClient]
) -> None:
    client: Any = make_client(member.tenant)
    body = {"project_id": str(member.tenant.project_id), "name": "manual", "kind": "text"}
    uploader = Uploader(client, client.post("/api/v1/datasets", json=body).json()["id"])
    uploader.send(json_lines(paragraphs()), file_name="manual.jsonl")
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto(f"/data/{uploader.dataset_id}")
        expect(page.get_by_text("texts under 3 labels")).to_be_visible()
        clean(page)
        page.get_by_role("link", name="Imports").click()
        page.get_by_label("Address").fill("https://10.0.0.1/a.jsonl")
        page.get_by_role("button", name="Start the import").click()
        expect(page.get_by_text("10.0.0.1 is no public address")).to_be_visible()
        page.get_by_label("Address").fill("https://files.invalid/mails.jsonl")
        page.get_by_role("button", name="Start the import").click()
        expect(page.get_by_text("https://files.invalid/mails.jsonl", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_text("https://files.invalid/mails.jsonl", exact=True)).to_be_visible()
        clean(page)
        page.locator("#imports").get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("being cancelled", exact=True)).to_be_visible()
        assert [one for one in complaints if "422" not in one] == []
