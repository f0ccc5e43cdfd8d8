"""A stranger's words in a log are one value of one line, and speak to no terminal."""

from pathlib import Path

import pytest
import structlog

from backend.core.log import configure_logging
from backend.platform.childlogs import LogFollower

pytestmark = pytest.mark.unit
WORDS = "/x\n2026-01-01T00:00:00Z [error] forged\x1b]0;owned\x07\r\x9b31m\u2028end"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_value_stays_in_its_line(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:  # noqa: FBT001 - parametrized
    before = structlog.get_config()
    configure_logging("info", as_json=as_json)
    try:
        structlog.get_logger("test").warning("request_refused", path=WORDS)
    finally:
        structlog.configure(**before)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(char.isprintable() for char in said.rstrip("\n"))
    assert "forged" in said


def test_the_console_shows_no_escape_sequences(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    shown: list[str] = []
    follower = LogFollower("api", log, shown.append)
    log.write_text("ERROR \x1b[2J\x1b]0;owned\x07 happened\n")
    follower.look()
    assert len(shown) == 1
    assert shown[0].startswith("[api] ERROR")
    assert shown[0].isprintable()
