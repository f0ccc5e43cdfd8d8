"""The strips below an attempt's timeline: as wide as it, in words too, exported, on a phone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from backend.jobs import states
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, Member
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow
from tests.frontend.used import GIB, Uses, uses  # noqa: F401 - a fixture

pytestmark = [pytest.mark.integration, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def address(site: FastAPI) -> Iterator[str]:
    with serving(site) as found:
        yield found


def test_strips_stand_below_the_timeline(
    browser: Browser,
    address: str,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    uses: Uses,  # noqa: F811 - a fixture
) -> None:
    member = make_member()
    measured = make_job(member.tenant, "measured")
    gpu = {"gpu_count": 1, "gpu_memory_limit_bytes": 16 * GIB, "gpu_share": [0.23] * 80}
    uses(member.tenant, measured, **gpu, gpu_memory_bytes=[float(6 * GIB)] * 80)
    unmeasured = make_job(member.tenant, "unmeasured", states.COMPLETED)
    uses(member.tenant, unmeasured, count=0)
    with visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto(f"/training/{measured}")
        strips = page.locator("#utilisation")
        expect(strips.locator("canvas")).to_be_visible()
        expect(strips.locator("figcaption")).to_contain_text("CPU at most 1.9 of 2 cores")
        expect(strips.locator("figcaption")).to_contain_text("The CPU keeps the GPU waiting")
        timeline, canvas = page.locator("#attempts .strip svg").bounding_box(), strips.locator("canvas").bounding_box()
        assert timeline is not None
        assert canvas is not None
        assert (abs(timeline["x"] - canvas["x"]), abs(timeline["width"] - canvas["width"])) < (2, 2)
        strips.locator("canvas").hover(position={"x": canvas["width"] / 2, "y": 60})
        expect(strips.locator(".chart-tip")).to_contain_text("1.9 / 2")
        with page.expect_download() as waited:
            page.get_by_role("button", name="Download Utilisation as CSV").click()
        rows = Path(waited.value.path()).read_text().splitlines()
        assert rows[0].startswith('Time,"GPU, share of time","GPU memory, bytes","CPU, cores"')
        assert len(rows) == 82
        with page.expect_download() as waited:
            page.get_by_role("button", name="Download Utilisation as PNG").click()
        assert Path(waited.value.path()).read_bytes()[:4] == b"\x89PNG"
        page.wait_for_timeout(2500)  # the page has refreshed itself, and what was drawn still is
        expect(strips.locator("canvas")).to_be_visible()
        assert axe(page) == []
        page.goto(f"/training/{unmeasured}")
        expect(strips).to_contain_text("Nothing was measured.")
        assert complaints == []


def test_strips_fit_a_phone(
    browser: Browser,
    address: str,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    uses: Uses,  # noqa: F811 - a fixture
) -> None:
    member = make_member()
    job = make_job(member.tenant, "small", states.COMPLETED)
    uses(member.tenant, job)
    with visiting(browser, address, width=390) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.goto(f"/training/{job}")
        expect(page.locator("#utilisation canvas")).to_be_visible()
        assert overflow(page) == 0
        assert complaints == []
