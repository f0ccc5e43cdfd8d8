"""Takes pictures of every page at 1440 and 390 px, light and dark, from sample data.

`python -m tests.frontend.shots [FOLDER]` writes PNG files (default: `build/shots`) and prints whatever a
page complained about.
"""

import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

from frontend.app import create_dashboard
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.sample import EMAIL, JOBS, PASSWORD, SamplePlatform
from tests.frontend.server import serving

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def pages() -> dict[str, str]:
    """Addresses by the name of their picture."""
    by_status = {one.status: one.id for one in JOBS}
    jobs = {f"job-{status}": f"/training/{by_status[status]}" for status in ("running", "queued", "failed")}
    return {"list": "/training", "list-none": "/training?text=nothing", "missing": "/nowhere", **jobs}


def shoot(page: Page, folder: Path, name: str) -> None:
    """One whole page, once its script has drawn."""
    page.wait_for_timeout(700)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def tour(browser: Browser, address: str, folder: Path, width: int, scheme: Literal["light", "dark"]) -> list[str]:
    """Every page at one width in one scheme; what the pages complained about."""
    with visiting(browser, address, width=width, scheme=scheme) as (page, complaints):
        page.goto("/login")
        shoot(page, folder, f"login-{width}-{scheme}")
        log_in(page, EMAIL, PASSWORD)
        for name, path in pages().items():
            page.goto(path)
            shoot(page, folder, f"{name}-{width}-{scheme}")
        if width < 900:
            page.goto("/training")
            page.get_by_role("button", name="Open navigation").click()
            shoot(page, folder, f"drawer-{width}-{scheme}")
        return [f"{width} {scheme} {one}" for one in complaints]


def main() -> None:
    """Start the gallery, take the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/shots")
    folder.mkdir(parents=True, exist_ok=True)
    complaints: list[str] = []
    with serving(create_dashboard(SamplePlatform(), secret=b"s" * 32)) as address, chromium() as browser:
        for width in (1440, 390):
            for scheme in SCHEMES:
                complaints += tour(browser, address, folder, width, scheme)
    sys.stdout.write("\n".join([f"pictures in {folder}", *complaints]) + "\n")


if __name__ == "__main__":
    main()
