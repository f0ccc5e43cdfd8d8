"""The sweep benchmark in small: it runs, places every job and says what it measured."""

import json

import pytest

from benchmarks import sweep

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


def test_it_runs_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--short"]) in {0, 1}, "how fast it is, a small run does not say"
    lines = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [line["name"] for line in lines] == ["sweep_with_a_past", "placements"]
    assert all(line["value"] > 0 and line["met"] in {True, False} for line in lines)
