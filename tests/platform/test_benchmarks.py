"""The benchmarks of the API run: their short forms, in this process. Figures are not judged here."""

import json

import pytest

from benchmarks import api_rates, export_metrics, job_list, pages, transfer

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
FIELDS = {"name", "value", "unit", "against", "ratio", "goal", "stretch", "met"}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (job_list, ["job_list"]),
        (api_rates, ["api_growth", "api_statements"]),
        (export_metrics, ["export_metrics", "export_metrics_memory", "follow_metrics"]),
        (transfer, ["upload", "download"]),
        (pages, ["first_paint", "script_bytes"]),
    ],
)
def test_a_short_form_runs_and_ends_with_its_line(
    module: object, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    status = module.main(["--short"])  # type: ignore[attr-defined]  # every benchmark has one
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    found = last if isinstance(last, list) else [last]
    assert [one["name"] for one in found] == names
    assert all(one.keys() >= FIELDS and one["value"] > 0 for one in found if one["name"] != "export_metrics_memory")
    assert status == (0 if all(one["met"] for one in found) else 1)
