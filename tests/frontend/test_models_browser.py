"""The models room by clicks: find a model, look at its mistakes, approve it, compress it, take a file home."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect

from backend import kinds
from backend.billing import service as billing
from backend.core.db import Database
from backend.core.storage import ObjectStore
from backend.fleet.models import InstanceType
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.registered import Registered, Registry, evaluation
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow

pytestmark = [pytest.mark.integration, pytest.mark.browser]
SHAPE = "local.cpu"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


@pytest.fixture
def member(make_member: Callable[..., Member], controller_database: Database) -> Member:
    """A developer, where compressions run on a machine with a price."""
    kinds.install()
    with controller_database.unit_of_work() as session:
        session.merge(InstanceType(name=SHAPE, provider="local", vcpus=2.0, memory_bytes=2**32, description="test"))
        sku = f"instance:{SHAPE}:on-demand"
        if billing.price_in_force(session, sku) is None:
            billing.set_price(session, sku, Decimal("0.00001"), datetime(2026, 1, 1, tzinfo=UTC))
    return make_member("developer")


@pytest.fixture
def made(app_database: Database, storage: ObjectStore, member: Member) -> Registered:
    return Registry(app_database, storage, member.tenant).digits()


def test_look_at_a_version_approve_it_and_compress_it(
    browser: Browser, address: str, member: Member, made: Registered
) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="Models").first.click()
        page.get_by_placeholder("Name contains").fill("dig")
        page.wait_for_url("**/models?text=dig")
        page.get_by_role("link", name="digits", exact=True).click()
        page.wait_for_url(f"**/models/{made.model_id}")
        expect(page.locator("#pareto:not(.is-empty)")).to_be_visible()
        page.get_by_role("link", name="Version 1", exact=True).click()
        page.get_by_role("link", name="Evaluation").click()
        expect(page.locator("#confusion:not(.is-empty)")).to_be_visible()
        expect(page.locator("#confusion .chart-text")).to_contain_text("of 300 images are right")
        worst = evaluation()["mistakes"][0]
        picture = page.get_by_alt_text(f"{worst['truth']}, taken for {worst['prediction']}").first
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth === 8", arg=picture.element_handle())
        page.get_by_role("button", name="Approve").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("reads well")
        page.get_by_role("dialog").get_by_role("button", name="Approve").click()
        expect(page.locator("#toasts")).to_contain_text("digits v1 was approved.")
        expect(page.get_by_label("How it is going")).to_contain_text("reads well")
        page.get_by_role("link", name="Files").click()
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download model.onnx").click()
        assert Path(waiting.value.path()).stat().st_size == 432_000
        page.get_by_role("link", name="Compress", exact=True).click()
        _compress(page)
        assert complaints == []


def _compress(page: Page) -> None:
    """At most an hour costs $0.036; ten minutes cost a sixth of that."""
    expect(page.get_by_role("button", name="Start compression · at most $0.1080")).to_be_visible()
    page.get_by_text("Advanced").click()
    page.get_by_label("Runtime limit").fill("600")
    expect(page.get_by_role("button", name="Start compression · at most $0.0180")).to_be_visible()
    expect(page.locator("#compress-command")).to_contain_text("--max-runtime-seconds 600")
    page.get_by_role("button", name="Start compression").click()
    expect(page.locator("#toasts")).to_contain_text("digits-int8-1 is queued.")
    expect(page.get_by_role("heading", name="digits-int8-1")).to_be_visible()


def test_pages_are_accessible_and_fit_a_phone(browser: Browser, address: str, member: Member, made: Registered) -> None:
    trained, compressed = f"/models/versions/{made.trained}", f"/models/versions/{made.compressed}"
    paths = ("/models", f"/models/{made.model_id}", trained, f"{trained}/evaluation", f"{compressed}/report",
             f"{trained}/files", f"{trained}/compress")  # fmt: skip
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        for path in paths:
            page.goto(path)
            assert overflow(page) <= 0, path
            assert axe(page) == [], path
        assert complaints == []
