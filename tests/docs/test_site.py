"""The site builds strictly, every link leads somewhere, and no page asks anything of another host."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.integration

WORTHY = {"https", "http", "mailto"}


class _Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in {"script", "img", "iframe", "source"} and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") != "canonical":
            self.loads.append(given.get("href", ""))


@cache
def _page(path: Path) -> _Page:
    return _Page(path.read_text())


def _pages(site: Path) -> list[Path]:
    return [path for path in site.rglob("*.html") if path.name != "404.html"]


def _target(site: Path, page: Path, link: str) -> Path:
    path = unquote(urlsplit(link).path)
    found = page if not path else (site / path.lstrip("/") if path.startswith("/") else page.parent / path)
    return (found / "index.html" if found.is_dir() else found).resolve()


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    broken = []
    pages = _pages(site)
    assert len(pages) > 60
    for page in pages:
        for link in _page(page).links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = _target(site, page, link)
            known = target.exists() and (
                not parts.fragment or target.suffix != ".html" or unquote(parts.fragment) in _page(target).anchors
            )
            if not known:
                broken.append((str(page.relative_to(site)), link))
    assert broken == []


def test_external_links_are_well_formed(site: Path) -> None:
    external = {link for page in _pages(site) for link in _page(page).links if urlsplit(link).scheme}
    assert [link for link in external if urlsplit(link).scheme not in WORTHY or " " in link] == []
    assert [link for link in external if urlsplit(link).scheme.startswith("http") and not urlsplit(link).hostname] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = {load for page in _pages(site) for load in _page(page).loads}
    assert [load for load in loaded if urlsplit(load).netloc] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?https?:", style.read_text()), style
    # Material would fetch Mermaid from elsewhere where a page with a diagram does not bring its own.
    for page in _pages(site):
        text = page.read_text()
        assert ("assets/mermaid.js" in text) == ('class="mermaid"' in text), page


def test_the_site_holds_pages_and_nothing_of_its_workshop(site: Path) -> None:
    assert not list(site.rglob("*.py"))
    assert not (site / "node_modules").exists()
    assert not (site / "package.json").exists()
    # Machine-specific paths would come from generators that print objects.
    for page in _pages(site):
        assert str(ROOT) not in page.read_text(), page


def test_a_missing_script_is_told(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(ROOT / "docs" / "generators", tmp_path / "docs" / "generators"))
    code = "from hook import on_config; on_config(None)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=copied, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{copied}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert "run `make docs`" in ended.stderr
