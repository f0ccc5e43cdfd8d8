"""The scripts and styles in a real Chromium, over sample data: what a person does and sees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from frontend.app import create_dashboard
from frontend.render import FOLDER, load_manifest
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.sample import EMAIL, PASSWORD, SamplePlatform, job
from tests.frontend.server import serving

pytestmark = [
    pytest.mark.browser,
]
AXE = FOLDER / "assets" / "node_modules" / "axe-core" / "axe.min.js"
SCRIPT_LIMIT_BYTES = 400_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def platform() -> SamplePlatform:
    return SamplePlatform()


@pytest.fixture
def address(platform: SamplePlatform) -> Iterator[str]:
    with serving(create_dashboard(platform, secret=b"k" * 32)) as found:
        yield found


def axe(page: Page) -> list[str]:
    """Accessibility violations (WCAG A and AA) of the page as it is."""
    page.evaluate(AXE.read_text())
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", rules)
    return [
        f"{one['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wider


@pytest.mark.parametrize("width", [1440, 390])
def test_log_in_see_the_jobs_open_one(browser: Browser, address: str, width: int) -> None:
    with visiting(browser, address, width=width) as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
        assert overflow(page) <= 0
        page.get_by_role("link", name="mnist-cnn-a").click()
        expect(page.get_by_role("heading", name="mnist-cnn-a")).to_be_visible()
        expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(3)
        expect(page.locator('[data-chart="loss"] .chart-text')).to_contain_text("lowest")
        expect(page.locator(".log-line")).to_have_count(60)
        assert overflow(page) <= 0
        assert complaints == []


@pytest.mark.slow
def test_hovering_a_chart_shows_every_series_without_inline_styles(browser: Browser, address: str) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        page.get_by_role("link", name="mnist-cnn-a").click()
        expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(3)
        page.locator('[data-chart="accuracy"] canvas').hover(position={"x": 300, "y": 120})
        tip = page.locator('[data-chart="accuracy"] .chart-tip')
        expect(tip).to_contain_text("validation accuracy")
        expect(tip).to_contain_text("train accuracy")
        page.get_by_label("Log axis").check()
        page.get_by_label("Smoothing").fill("0.6")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download Loss by step as CSV").click()
        assert Path(waiting.value.path()).read_text().startswith("series,step,value,time\ntrain/loss,0,")
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download Loss by step as PNG").click()
        assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
        assert complaints == []


@pytest.mark.slow
def test_filters_change_the_table_and_the_url_in_place(browser: Browser, address: str) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        page.evaluate("window.sameDocument = true")
        page.get_by_placeholder("Name contains").fill("int8")
        expect(page.get_by_role("row")).to_have_count(2)
        page.wait_for_url("**/training?text=int8")
        page.get_by_label("Status").select_option("failed")
        expect(page.get_by_role("heading", name="No job matches these filters")).to_be_visible()
        assert page.evaluate("window.sameDocument")
        page.keyboard.press("Control+k")
        expect(page.get_by_placeholder("Search")).to_be_focused()
        page.keyboard.type("cnn-b")
        expect(page.locator("#search-results").get_by_role("option", name="mnist-cnn-b")).to_be_visible()
        assert complaints == []


@pytest.mark.slow
def test_stop_asks_once_then_says_so(browser: Browser, address: str) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        page.get_by_role("link", name="mnist-cnn-a").click()
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Keep it running").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Stop the job").click()
        expect(page.locator("#toasts")).to_contain_text("Asked mnist-cnn-a to stop")
        expect(page.locator("#going")).to_contain_text("Stopping")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert complaints == []


@pytest.mark.slow
def test_everything_follows_the_job_and_stops_asking_when_it_is_final(
    browser: Browser, address: str, platform: SamplePlatform
) -> None:
    with visiting(browser, address) as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        page.get_by_role("link", name="mnist-cnn-a").click()
        expect(page.locator("#going")).to_contain_text("Running")
        page.evaluate("window.scrollTo(0, 400)")
        place = "document.querySelector('[data-log]').getBoundingClientRect().top"
        before = page.evaluate(place)
        running = platform.jobs[0]
        platform.jobs[0] = job(running.name, "completed", id=running.id)
        expect(page.locator("#going")).to_contain_text("Completed", timeout=8000)
        assert page.evaluate(place) == pytest.approx(before, abs=2)
        page.wait_for_timeout(2500)
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - Playwright rejects built-in methods
        page.wait_for_timeout(3000)
        assert asked == []
        assert complaints == []


@pytest.mark.slow
def test_theme_follows_the_system_until_it_is_switched(browser: Browser, address: str) -> None:
    with visiting(browser, address, scheme="dark") as (page, complaints):
        log_in(page, EMAIL, PASSWORD)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        page.get_by_role("button", name="Switch between light and dark").click()
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
        assert complaints == []


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_pages_are_accessible(browser: Browser, address: str, scheme: Literal["light", "dark"]) -> None:
    with visiting(browser, address, scheme=scheme) as (page, _complaints):
        page.goto("/login")
        found = axe(page)
        log_in(page, EMAIL, PASSWORD)
        found += axe(page)
        for name in ("mnist-cnn-a", "a-training-with"):
            page.goto("/training")
            page.get_by_role("link", name=name).click()
            expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(3)
            found += axe(page)
        assert found == []


def test_a_page_without_charts_loads_little_script() -> None:
    manifest = load_manifest()
    size = sum((FOLDER / "static" / manifest[name]).stat().st_size for name in ("theme.js", "app.js"))
    assert size <= SCRIPT_LIMIT_BYTES
