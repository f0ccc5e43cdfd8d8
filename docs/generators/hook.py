"""What MkDocs calls (`hooks:` in mkdocs.yml): adds the generated pages and the script of the diagrams.

A page in one of SECTIONS' folders that `nav` does not name joins that section by itself, so writing it is enough.
"""

import re
import sys
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js"
_DIAGRAM = re.compile(r'(<pre class="mermaid">.*?</pre>)', re.DOTALL)
SCRIPT_URI = "assets/mermaid.js"
SECTIONS = {
    "reference/api": "HTTP API",
    "reference/cli": "Command line",
    "reference": "Reference",
    "decisions": "Decisions",
}
"""Folder below docs/ → title of the section that its pages join, the innermost folder first."""


@cache
def generated() -> dict[str, str]:
    """Path below docs/ → Markdown, of every page that is made from code."""
    if str(ROOT) not in sys.path:  # MkDocs restores the path after it has loaded this file
        sys.path.insert(0, str(ROOT))
    from docs.generators import api, cli, decisions, metrics, pictures, settings  # noqa: PLC0415 # as above

    made: dict[str, str] = {}
    for module in (api, cli, settings, metrics, pictures, decisions):
        made |= module.pages()
    return made


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give the sections their pages. Raises PluginError where the diagrams' script was not installed."""
    if not SCRIPT.exists():
        raise PluginError("the script of the diagrams is missing: run `make docs`, or `npm ci` in docs/")
    docs = Path(config.docs_dir)
    on_disk = {str(path.relative_to(docs)) for folder in SECTIONS for path in (docs / folder).glob("*.md")}
    nav: list[Any] = config.nav or []
    named = set(_named(nav))
    for uri in sorted((on_disk | generated().keys()) - named):
        folder = str(Path(uri).parent)
        if folder in SECTIONS:
            _section(nav, SECTIONS[folder]).append(uri)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in docs/."""
    for uri, text in generated().items():
        files.append(File.generated(config, uri, content=text))
    files.append(File.generated(config, SCRIPT_URI, abs_src_path=str(SCRIPT)))
    return files


def on_page_content(html: str, page: Page, **_: object) -> str:
    """A diagram scrolls inside a box of its own where the screen is narrow, and says what it is a picture of."""
    label = escape(f"Diagram: {page.title}. The text around it says the same.", quote=True)

    def boxed(found: re.Match[str]) -> str:
        # Shrunk to a column, the words of a sequence diagram are too small to read.
        wide = " wide" if "sequenceDiagram" in found[1] else ""
        return f'<div class="diagram{wide}" role="img" tabindex="0" aria-label="{label}">{found[1]}</div>'

    return _DIAGRAM.sub(boxed, html)


def _named(nav: list[Any]) -> list[str]:
    """Every page that the navigation names."""
    found: list[str] = []
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            found += _named(value) if isinstance(value, list) else [value]
    return found


def _section(nav: list[Any], title: str) -> list[Any]:
    """The list of a section. Raises PluginError when `nav` has no such section."""
    waiting = list(nav)
    while waiting:
        entry = waiting.pop(0)
        for name, value in entry.items() if isinstance(entry, dict) else ():
            if name == title and isinstance(value, list):
                return value
            waiting += value if isinstance(value, list) else []
    raise PluginError(f"mkdocs.yml's nav has no section {title!r}")
