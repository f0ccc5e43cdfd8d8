"""A person does the whole job by clicks in a real browser on a real platform: data, training, compression, endpoint.

Log in → make a project and a dataset → upload → freeze → train and watch → compress → deploy both → draw a digit → see
what it cost and where it came from. Nothing is prepared; every page is axe-clean on the way.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modelyard.images import write_archive
from tests.fixtures.digits import digits
from tests.fixtures.platform import RHYTHM, RunningPlatform, new_running_platform
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.test_browser import axe

pytestmark = [pytest.mark.integration, pytest.mark.browser, pytest.mark.slow]
IMAGES = 600
JOB_MILLISECONDS = 120_000


@pytest.fixture
def own() -> Iterator[RunningPlatform]:
    running = new_running_platform(RHYTHM)
    try:
        running.up()
        yield running
    finally:
        running.discard()


class Journey:
    """A page, and what it complained about on the way."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.inaccessible: list[str] = []

    def click(self, name: str, kind: str = "link") -> None:
        self.page.get_by_role(kind, name=name).first.click()  # type: ignore[arg-type] # link or button

    def fill(self, label: str, text: str) -> None:
        self.page.get_by_role("textbox", name=label).first.fill(text)

    def arrived(self, heading: str) -> None:
        expect(self.page.get_by_role("heading", name=heading, exact=False).first).to_be_visible()
        self.inaccessible += [f"{heading}: {one}" for one in axe(self.page)]

    def completed(self) -> None:
        expect(self.page.locator("#going")).to_contain_text("Completed", timeout=JOB_MILLISECONDS)


def test_from_log_in_to_the_bill(own: RunningPlatform, tmp_path: Path) -> None:
    archive = tmp_path / "digits.zip"
    write_archive(archive, islice(digits(), IMAGES))
    with chromium() as browser, visiting(browser, own.api_url) as (page, complaints):
        journey = Journey(page)
        log_in(page, own.owner["email"], own.owner["password"], to="/")
        for step in (bring_data, train, compress, deploy, draw, see_the_cost):
            step(journey, archive)
        assert journey.inaccessible == []
        assert [one for one in complaints if not one.startswith("error: htmx:")] == []


def bring_data(journey: Journey, archive: Path) -> None:
    page = journey.page
    page.goto("/projects/new")
    journey.fill("Name", "handwriting")
    journey.click("Create the project", "button")
    page.goto("/data")
    journey.click("New dataset")
    journey.fill("Name", "digits")
    page.get_by_label("Project", exact=True).select_option(label="handwriting")
    journey.click("Create the dataset", "button")
    journey.arrived("digits")
    page.locator("#upload-files").set_input_files([archive])
    expect(page.locator(".transfer")).to_have_attribute("data-state", "done", timeout=60_000)
    journey.click("Freeze a version")
    page.wait_for_load_state("networkidle")
    journey.click("Freeze the version", "button")
    expect(page.locator("#toasts")).to_contain_text("Version 1 of digits is frozen.")
    journey.arrived("digits")


def train(journey: Journey, _archive: Path) -> None:
    page = journey.page
    page.goto("/training/new")
    if page.get_by_label("Project", exact=True).count():
        page.get_by_label("Project", exact=True).select_option(label="handwriting")
    journey.fill("Name", "first")
    journey.fill("Model", "digits")
    page.get_by_label("Epochs", exact=True).fill("4")
    page.wait_for_load_state("networkidle")
    journey.click("Start training", "button")
    journey.arrived("first")
    expect(page.locator(".chart:not(.is-empty) canvas").first).to_be_visible(timeout=JOB_MILLISECONDS)
    journey.completed()


def compress(journey: Journey, _archive: Path) -> None:
    page = journey.page
    page.goto("/models")
    journey.click("digits")
    journey.arrived("digits")
    page.get_by_role("link", name="1", exact=True).or_(page.get_by_role("link", name="Version 1")).first.click()
    journey.arrived("digits, version 1")
    journey.click("Compress")
    page.get_by_label("Accuracy that may be lost").fill("5")
    page.get_by_label("Speed-up").fill("0")
    page.wait_for_load_state("networkidle")
    journey.click("Start", "button")
    journey.completed()


def deploy(journey: Journey, _archive: Path) -> None:
    page = journey.page
    page.goto("/endpoints/new")
    page.get_by_label("Name", exact=True).fill("reader")
    page.get_by_label("Project", exact=True).select_option(label="handwriting")
    journey.click("Add a variant", "button")
    second = page.get_by_role("group", name="Variant 2")
    second.get_by_label("Variant", exact=True).fill("int8")
    second.get_by_label("Model version").select_option(index=2)
    second.get_by_label("Weight").fill("30")
    page.wait_for_load_state("networkidle")
    journey.click("Create endpoint", "button")
    journey.arrived("reader")
    expect(page.locator("#going")).to_contain_text("In service", timeout=JOB_MILLISECONDS)


def draw(journey: Journey, _archive: Path) -> None:
    page = journey.page
    journey.click("Playground")
    canvas = page.locator("[data-canvas]")
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 140, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 240, steps=8)
    page.mouse.up()
    journey.click("Ask the endpoint", "button")
    expect(page.locator(".answer-best")).to_be_visible(timeout=20_000)
    expect(page.locator("#answer .bars li")).to_have_count(10)
    journey.arrived("reader")


def see_the_cost(journey: Journey, _archive: Path) -> None:
    page = journey.page
    page.goto("/costs")
    expect(page.get_by_role("table").first).to_contain_text("first", timeout=60_000)
    journey.arrived("Costs")
    page.goto("/training")
    journey.click("first")
    journey.click("Lineage")
    for name in ("digits", "reader"):
        expect(page.get_by_role("main")).to_contain_text(name)
    journey.arrived("Lineage")
