"""Every kind of figure drawn by the script in a real Chromium, under the dashboard's Content-Security-Policy."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from frontend.app import create_dashboard
from frontend.figures import Figure, FigureSeries, Point, document
from tests.frontend.browser import chromium, visiting
from tests.frontend.sample import SamplePlatform
from tests.frontend.server import serving
from tests.frontend.test_browser import axe, overflow

pytestmark = pytest.mark.browser
DAYS = tuple(f"2026-11-{day:02d}" for day in range(1, 15))
TIMES = tuple(f"2026-11-23T10:{minute:02d}:00+00:00" for minute in range(0, 40, 5))
FORECAST = (None,) * 11 + ((14.0, 16.0), (15.0, 18.0), (16.0, 20.0))
FIGURES = {
    "lines": Figure(
        kind="lines", unit="usd", x=DAYS, note="Spending grows to $18.00.",
        series=[
            FigureSeries(name="Charged", values=[*range(1, 12), None, None, None]),
            FigureSeries(name="Forecast", values=[None] * 10 + [11.0, 15.0, 16.5, 18.0], dashed=True, band=FORECAST),
        ],
    ),
    "bars": Figure(
        kind="bars", unit="usd", x=DAYS, note="Training costs most.",
        series=[
            FigureSeries(name="Training", values=[0.5 + day / 7 for day in range(14)]),
            FigureSeries(name="Endpoints", values=[0.02 * day for day in range(14)]),
        ],
    ),
    "area": Figure(
        kind="area", unit="count", x=TIMES, y_label="Calls per minute", note="Blue answers most calls.",
        series=[
            FigureSeries(name="blue", values=[90, 80, 85, 90, 95, 70, 60, 50]),
            FigureSeries(name="green", values=[10, 20, 15, 10, 5, 30, 40, 50]),
        ],
    ),
    "scatter": Figure(
        kind="scatter", unit="share", x_unit="bytes", x_label="Size", y_label="Accuracy", note="int8 is on the front.",
        series=[
            FigureSeries(
                name="Candidates",
                points=[
                    Point(x=400_000, y=0.991, label="fp32", marked=True),
                    Point(x=100_000, y=0.989, label="int8", marked=True),
                    Point(x=220_000, y=0.97, label="pruned 50%"),
                ],
            )
        ],
    ),
    "matrix": Figure(
        kind="matrix", unit="count", x=("cat", "dog", "bird"), x_label="Predicted", y_label="True",
        note="9 of 10 hold.",
        series=[
            FigureSeries(name="cat", values=[90, 8, 2]),
            FigureSeries(name="dog", values=[12, 80, 8]),
            FigureSeries(name="bird", values=[0, 3, 997]),
        ],
    ),
    "treemap": Figure(
        kind="treemap", unit="usd", x=("mnist-cnn", "digits", "nightly"), note="mnist-cnn costs most.",
        series=[
            FigureSeries(name="Vision", values=[12.5, 3.25, None]),
            FigureSeries(name="=Text", values=[None, None, 4.75]),
        ],
    ),
    "empty": Figure(kind="lines", unit="count", series=[]),
}  # fmt: skip
PAGE = """{% extends "layouts/base.html" %}
{% from "components/figure.html" import figure with context %}
{% block title %}Figures{% endblock %}
{% block head %}{{ module('figures.js') }}{% endblock %}
{% block body %}<main><h1>Figures</h1><h2>All</h2><button type="button" data-theme-switch>Theme</button>
<div class="charts">{% for name in names %}{{ figure(name, name ~ " shown", "/points/" ~ name) }}{% endfor %}</div>
</main>
{% endblock %}"""


@dataclass
class Source:
    """What the figures' addresses answer; a test changes it."""

    figures: dict[str, Figure] = field(default_factory=lambda: dict(FIGURES))
    broken: bool = False
    asked: list[str] = field(default_factory=list)


def gallery(source: Source) -> FastAPI:
    """The dashboard with a page of figures."""
    dashboard = create_dashboard(SamplePlatform(), secret=b"k" * 32)

    def show(request: Request, only: str = "") -> HTMLResponse:
        environment = dashboard.state.renderer.environments["en"]
        names = [name for name in source.figures if only in {"", name}]
        context = {"request": request, "csrf_token": "", "names": names}
        return HTMLResponse(environment.from_string(PAGE).render(context))

    def points(name: str) -> Response:
        source.asked.append(name)
        if source.broken:
            return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(document(source.figures[name]), media_type="application/json")

    dashboard.get("/gallery")(show)
    dashboard.get("/points/{name}")(points)
    return dashboard


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def address(source: Source) -> Iterator[str]:
    with serving(gallery(source)) as found:
        yield found


def drawn(page: Page) -> None:
    """Wait until every figure but the empty one is drawn."""
    expect(page.locator('.chart[aria-busy="true"]')).to_have_count(0)
    expect(page.locator(".chart:not(.is-empty):has(canvas)")).to_have_count(len(FIGURES) - 1)


def hover(page: Page, name: str, said: str, *, x: float = 0.5, y: float = 0.5) -> None:
    """The tooltip over a place of a figure, given as shares of its width and height, says so."""
    canvas = page.locator(f"#{name} .chart-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * x - 3, box["y"] + box["height"] * y)
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    expect(page.locator(f"#{name} .chart-tip")).to_contain_text(said)


@pytest.mark.parametrize("width", [1440, 390])
def test_every_kind_is_drawn_told_and_fits(browser: Browser, address: str, width: int) -> None:
    with visiting(browser, address, width=width) as (page, complaints):
        page.goto("/gallery")
        drawn(page)
        assert overflow(page) <= 0
        expect(page.locator("#empty .chart-empty")).to_have_text("Nothing to draw yet.")
        expect(page.locator("#matrix figcaption")).to_have_text("9 of 10 hold.")
        expect(page.get_by_role("img", name="bars shown. Training costs most.")).to_be_visible()
        if width == 1440:
            assert axe(page) == []
        assert complaints == []


def test_tooltips_name_the_values_as_the_pages_write_them(browser: Browser, address: str) -> None:
    with visiting(browser, address) as (page, complaints):
        page.goto("/gallery")
        drawn(page)
        hover(page, "bars", "Training$1.36")
        hover(page, "area", "Σ100")
        hover(page, "lines", "$16.00 \N{EN DASH} $20.00", x=0.94)
        hover(page, "matrix", "dog → dogTrue80", x=0.52)
        hover(page, "treemap", "Vision / mnist-cnn$12.50", x=0.2)
        assert complaints == []


def test_exports_hold_what_is_drawn(browser: Browser, address: str) -> None:
    with visiting(browser, address) as (page, complaints):
        page.goto("/gallery")
        drawn(page)
        expected = {
            "lines": "x,Charged,Forecast,Forecast (low),Forecast (high)\n2026-11-01,1,,,\n",
            "scatter": "series,label,Size,Accuracy,marked\nCandidates,fp32,400000,0.991,true\n",
            "matrix": ",cat,dog,bird\ncat,90,8,2\n",
            "treemap": "group,name,usd\nVision,mnist-cnn,12.5\nVision,digits,3.25\n'=Text,nightly,4.75\n",
        }
        for name, begins in expected.items():
            with page.expect_download() as waiting:
                page.get_by_role("button", name=f"Download {name} shown as CSV").click()
            assert Path(waiting.value.path()).read_text().startswith(begins)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download treemap shown as PNG").click()
        assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
        assert complaints == []


def test_a_figure_follows_until_it_is_final_and_offers_another_try(
    browser: Browser, address: str, source: Source
) -> None:
    live = Figure(kind="lines", unit="count", x=("1", "2"), series=[FigureSeries(name="a", values=[1, 2])], final=False)
    source.figures["lines"] = live
    source.broken = True
    with visiting(browser, address) as (page, complaints):
        page.goto("/gallery?only=lines")
        expect(page.get_by_text("This chart could not be loaded.")).to_be_visible()
        source.broken = False
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#lines:not(.is-empty) canvas")).to_be_visible()
        page.evaluate("window.canvas = document.querySelector('#lines canvas')")
        source.figures["lines"] = FIGURES["lines"]
        expect(page.locator("#lines figcaption")).to_have_text("Spending grows to $18.00.", timeout=8000)
        assert page.evaluate("window.canvas === document.querySelector('#lines canvas')")
        asked = len(source.asked)
        page.get_by_role("button", name="Theme").click()
        page.wait_for_timeout(300)
        assert asked == len(source.asked) == 3
        assert [one for one in complaints if "503" not in one] == []
