"""The site, built once per session."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import ROOT


def build_site(target: Path) -> Path:
    """Build strictly into `target`; fails with what MkDocs said."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert built.returncode == 0, built.stderr[-4000:]
    return target
