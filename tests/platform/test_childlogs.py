"""Following a child's log: only warnings, shortened, counted; rotation keeps it small."""

from pathlib import Path

import pytest

from backend.platform import childlogs
from backend.platform.childlogs import LogFollower

pytestmark = pytest.mark.unit


def test_only_new_warnings_are_shown_with_a_prefix_and_shortened(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("ERROR from the last run\n")
    shown: list[str] = []
    follower = LogFollower("api", log, shown.append, ["harmless"])
    with log.open("a") as stream:
        stream.write("INFO fine errors=0\nWARNING look\nWARNING harmless\nERROR " + "x" * 500 + "\nERROR half a li")
    follower.look()
    assert shown[0] == "[api] WARNING look"
    assert shown[1].startswith("[api] ERROR xxx")
    assert len(shown[1]) < 200
    assert len(shown) == 2
    with log.open("a") as stream:
        stream.write("ne\n")
    follower.look()
    assert shown[2] == "[api] ERROR half a line"


def test_a_flood_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    shown: list[str] = []
    follower = LogFollower("api", log, shown.append)
    log.write_text("ERROR again\n" * 100)
    follower.look()
    assert len(shown) == 6
    assert shown[-1] == f"[api] … and 95 more lines in {log}"


def test_a_long_log_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(childlogs, "_LIMIT_BYTES", 100)
    log = tmp_path / "api.log"
    follower = LogFollower("api", log, lambda _line: None)
    log.write_text("x" * 99 + "\n" + "y" * 20 + "\n")
    follower.look()
    assert log.read_text() == ""
    assert (tmp_path / "api.log.1").read_text().endswith("y\n")
