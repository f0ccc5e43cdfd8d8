"""The browsable reference in a real Chromium: it works under its Content-Security-Policy and needs no other host."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from tests.frontend.browser import chromium, visiting
from tests.frontend.server import serving

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("SHOTS")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def test_the_reference_is_browsed_and_a_request_is_sent_from_it(browser: Browser, app: FastAPI) -> None:
    with serving(app) as address, visiting(browser, address) as (page, complaints):
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto("/api/docs")
        operation = page.locator("#operations-events-list_event_types_api_v1_event_types_get")
        page.locator("#operations-tag-events").get_by_role("button", name="Expand operation").click(timeout=20_000)
        expect(operation).to_be_visible()
        assert complaints == []
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table")).to_contain_text("401")
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / "apidocs.png")
        assert hosts - {"", urlsplit(address).netloc} == set()
        assert [each for each in complaints if "401" not in each] == []
