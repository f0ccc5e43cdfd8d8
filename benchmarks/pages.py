"""First paint of every page over a filled database, in a real Chromium: ≤ 300 ms, and ≤ 400 kB of script.

Run `python -m benchmarks.pages [--short]`; the last line is one JSON list. One organization of a durable PostgreSQL has
1,000,000 jobs, 100,000 jobs with a charge of this month and an endpoint with 50,000, a dataset of 100,000 files with
two versions of it, 100,000 deliveries of events, and a job that runs with 100,000 metric points and 100,000 log lines
(`pages_rows`); beside it are a thousand others. A real API process answers; the system's Chromium (headless) logs in
through the form and visits every page in turn. Each round begins with a new browser context: its first visit fetches
style and scripts, those after it find them in the browser's cache, as a person's do.

The pages are those of the dashboard's own routes: what answers a whole document is a page and is judged, a new one
without being named. `first_paint` is the first contentful paint that the browser reports, from the start of the
navigation; of each page the median over the rounds, and of those the worst is the value. `script_bytes` is the script
(unpacked) of the page without charts that has the most. Told, not judged: each page's server time (from its request to
the first byte of the answer) and longest paint, the time of the parts that pages fetch after their paint (fragments,
charts' documents, files), the median of first visits, which fetch everything, and the seconds of freezing the dataset.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page

from benchmarks.pages_rows import EMAIL, PASSWORD, Size, addresses, fill
from benchmarks.stack import ApiProcess, Stack
from frontend.pages.jobs import STOP_POLLING
from tests.frontend.browser import chromium, log_in, visiting

GOAL_MS, STRETCH_MS = 300, 150
GOAL_BYTES, STRETCH_BYTES = 400_000, 150_000
PAINTED = """() => new Promise((done) => {
    const found = () => performance.getEntriesByName("first-contentful-paint")[0];
    const asked = performance.getEntriesByType("navigation")[0];
    const scripts = performance.getEntriesByType("resource").filter((one) => one.initiatorType === "script");
    const charts = scripts.some((one) => /\\/(charts|figures)-/.test(one.name));
    const bytes = scripts.reduce((sum, one) => sum + one.decodedBodySize, 0);
    const tell = () => done([found().startTime, asked.responseStart - asked.requestStart, bytes, charts]);
    if (found()) return tell();
    new PerformanceObserver(() => found() && tell()).observe({ type: "paint", buffered: true });
})"""


@dataclass
class Visits:
    """What the browser told of one page, in ms; `charts`: its script is not judged."""

    paint: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    script_bytes: int = 0
    charts: bool = False


@dataclass
class Found:
    """What one run saw: pages by address, times of parts that pages fetch afterwards (ms), and first visits (ms)."""

    pages: dict[str, Visits] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)
    first: list[float] = field(default_factory=list)


def visit(page: Page, path: str, into: Visits) -> None:
    """Note what the browser tells of one visit. Raises RuntimeError unless answered 200."""
    answer = page.goto(path, wait_until="load")
    if answer is None or answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status if answer else 'no answer'}")
    paint, server, script, charts = page.evaluate(PAINTED)
    into.paint.append(float(paint))
    into.server.append(float(server))
    into.script_bytes, into.charts = int(script), bool(charts)
    if charts:  # they are drawn before a person's next click, and what comes after the paint has come
        page.wait_for_load_state("networkidle")
    page.wait_for_selector("[aria-busy=true]", state="detached")


def ask(page: Page, api: ApiProcess, paths: dict[str, str], found: Found) -> None:
    """Tell pages from parts, and time what is none: fragments, charts' documents, files."""
    cookies = {str(one["name"]): str(one["value"]) for one in page.context.cookies()}
    with httpx2.Client(base_url=api.url, cookies=cookies, timeout=60, trust_env=False, follow_redirects=True) as http:
        for name, path in paths.items():
            began = time.perf_counter()
            answer = http.get(path, headers={"Accept": "text/html"})
            taken = (time.perf_counter() - began) * 1000
            if answer.status_code not in {200, STOP_POLLING}:
                raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:300]}")
            if answer.text.lstrip().lower().startswith("<!doctype html"):
                found.pages.setdefault(name, Visits())
            else:
                found.parts.setdefault(name, []).append(taken)


def measure(browser: Browser, api: ApiProcess, paths: dict[str, str], rounds: int) -> Found:
    """Every page in turn, `rounds` times after one that only warms."""
    found = Found()
    for turn in range(rounds + 1):
        with visiting(browser, api.url) as (page, complaints):
            page.goto("/login")
            first = Visits()
            visit(page, "/login?again", first)
            log_in(page, EMAIL, PASSWORD)
            ask(page, api, paths if turn == 0 else {name: paths[name] for name in found.parts}, found)
            for name, visits in found.pages.items():
                visit(page, paths[name], visits if turn else Visits())
            if turn:
                found.first += first.paint
            if any(one.startswith("script:") for one in complaints):
                raise RuntimeError(f"a page complained: {complaints}")
    return found


def lines(found: Found, freeze_seconds: float) -> list[dict[str, Any]]:
    """The results."""
    pages = {name: (median(one.paint), median(one.server), max(one.paint)) for name, one in found.pages.items()}
    slowest = max(pages, key=lambda name: pages[name][0])
    worst = pages[slowest][0]
    script = max(one.script_bytes for one in found.pages.values() if not one.charts)
    parts = {name: median(taken) for name, taken in found.parts.items()}
    return [
        {
            "name": "first_paint",
            "value": round(worst, 1),
            "unit": "ms, first contentful paint, median of the slowest page",
            "against": f"a limit of {GOAL_MS} ms",
            "ratio": round(worst / GOAL_MS, 3),
            "goal": 1.0,
            "stretch": STRETCH_MS / GOAL_MS,
            "met": worst <= GOAL_MS,
            "slowest": slowest,
            "pages": len(pages),
            "pages_ms": {
                name: {"paint": round(paint, 1), "server": round(server, 1), "longest_paint": round(longest, 1)}
                for name, (paint, server, longest) in sorted(pages.items(), key=lambda one: -one[1][0])
            },
            "parts_ms": {name: round(taken, 1) for name, taken in sorted(parts.items(), key=lambda one: -one[1])},
            "first_visit_ms": round(median(found.first), 1),
            "freeze_seconds": round(freeze_seconds, 2),
        },
        {
            "name": "script_bytes",
            "value": script,
            "unit": "bytes of script on a page without charts, unpacked",
            "against": f"a limit of {GOAL_BYTES:,} bytes",
            "ratio": round(script / GOAL_BYTES, 3),
            "goal": 1.0,
            "stretch": STRETCH_BYTES / GOAL_BYTES,
            "met": 0 < script <= GOAL_BYTES,
        },
    ]


def show(found: Found) -> None:
    """A table of the pages on stderr, the slowest last."""
    rows = sorted((median(one.paint), median(one.server), name) for name, one in found.pages.items())
    for paint, server, name in rows:
        print(f"{paint:7.0f} ms paint {server:7.0f} ms server  {name}", file=sys.stderr)
    for taken, name in sorted((median(taken), name) for name, taken in found.parts.items()):
        print(f"{taken:24.0f} ms part    {name}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="small sizes: shows that it runs, measures little")
    short = parser.parse_args(arguments).short
    small, large = Size(2_000, 1_000, 10_000, 2_000, 500, 10), Size(1_000_000, 100_000, 100_000, 100_000, 100_000)
    with Stack() as stack:
        filled = fill(stack, small if short else large)
        print("filled; measuring", file=sys.stderr)
        with filled.site.api() as api, chromium() as browser:
            found = measure(browser, api, addresses(filled), 1 if short else 5)
    show(found)
    result = lines(found, filled.freeze_seconds)
    print(json.dumps(result))
    return 0 if all(one["met"] for one in result) else 1


if __name__ == "__main__":
    sys.exit(main())
