"""The code blocks of a page, as data and as one script."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_END = "END_OF_THE_BLOCK"


class Block(NamedTuple):
    """A fenced block. `sh` and `python` are run; `console`, `text` and others only show something."""

    language: str
    code: str


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of `docs/<page>.md`, or of the README."""
    path = ROOT / "README.md" if page == "README" else PAGES / f"{page}.md"
    return [Block(*found) for found in _BLOCK.findall(path.read_text())]


def script_of(page: str) -> str:
    """What a reader would type, in order: one shell script that ends at the first failure."""
    parts = ["set -euo pipefail"]
    for block in blocks_of(page):
        if block.language == "sh":
            parts.append(block.code)
        elif block.language == "python":
            parts.append(f"python - <<'{_END}'\n{block.code}{_END}")
    return "\n".join(parts) + "\n"
