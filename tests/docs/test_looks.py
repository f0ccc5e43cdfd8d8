"""The site in a browser: every diagram is drawn, nothing is asked of another host, no page is wider than a phone."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.frontend.browser import chromium, visiting

pytestmark = pytest.mark.browser

WITHOUT_DIAGRAM = ["", "reference/api/training-jobs/", "reference/client/", "how-to/keys/"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_draw_their_diagrams_and_ask_no_other_host(site: Path, address: str) -> None:
    drawn = [
        f"{path.parent.relative_to(site)}/"
        for path in site.rglob("index.html")
        if 'class="mermaid"' in path.read_text()
    ]
    assert len(drawn) >= 8
    with chromium() as browser, visiting(browser, address, width=390, scheme="dark") as (page, complaints):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in [*drawn, *WITHOUT_DIAGRAM]:
            page.goto(f"{address}{name}")
            page.wait_for_load_state("networkidle")
            assert complaints == [], name
            assert page.locator("pre.mermaid").count() == 0, f"{name}: a diagram was not drawn"
            assert page.locator("div.diagram").count() == page.locator("div.mermaid").count(), name
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{name} is wider than a phone"
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
