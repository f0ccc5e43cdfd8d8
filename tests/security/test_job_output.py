"""Whatever a job says or writes: its agent's reports stay such as the control plane takes, the host keeps its disk."""

import json
import uuid
from pathlib import Path

import msgspec
import pytest

from backend.core.wire import Logs, Metrics, MetricSeries
from worker.agent.messages import POINTS_PER_MESSAGE, decode_message
from worker.agent.process import disk_bytes
from worker.agent.reporter import POINT_BURST, SERIES_LIMIT, Reporter
from worker.agent.spool import Spool
from worker.agent.uploads import DEPTH, NAME_BYTES, OutputNotUsable, output_files

pytestmark = pytest.mark.unit
RESULT = '{"type":"result_written","folder":"x","summary":%s}'


def nested(depth: int) -> str:
    return '{"a":' + "[" * depth + "]" * depth + "}"


def metrics(series: list[dict[str, object]]) -> str:
    return json.dumps({"type": "metrics", "series": series})


def columns(name: str, points: int) -> dict[str, object]:
    return {"name": name, "steps": list(range(points)), "values": [0.5] * points, "times": [1.0] * points}


@pytest.mark.parametrize(
    "line",
    [
        RESULT % nested(40),
        RESULT % nested(5000),
        RESULT % nested(200_000),
        '{"type":"progress","step":1,"total_steps":1,"phase":"","more":' + "[" * 5000 + "]" * 5000 + "}",
        RESULT % ('{"a":1' + "0" * 5000 + "}"),
        RESULT % '{"a":1e999}',
        metrics([columns("loss", POINTS_PER_MESSAGE + 1)]),
        metrics([columns(str(number), 0) for number in range(1001)]),
    ],
)
def test_a_message_that_would_block_all_later_ones_is_refused(line: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_message(line.encode())


def test_series_without_end_are_dropped_and_said(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", str(uuid.uuid4()), 1)
    reporter = Reporter(spool, lambda: 0.0, lambda: None)
    for number in range(SERIES_LIMIT + 50):
        reporter.metrics(Metrics(series=[MetricSeries(name=f"s{number}", steps=[1], values=[1.0], times=[1.0])]))
        reporter.metrics(Metrics(series=[MetricSeries(name=f"e{number}", steps=[], values=[], times=[])]))
    reporter.tell(Logs(lines=["end"], times=[0.0]))
    told = [json.loads(line)["body"] for line in spool.batch(1000, 1 << 30)]
    spool.close()
    names = [series["name"] for body in told if body["type"] == "metrics" for series in body["series"]]
    assert names == [f"s{number}" for number in range(SERIES_LIMIT)]
    lines = [line for body in told if body["type"] == "logs" for line in body["lines"]]
    assert len([line for line in lines if "series are dropped" in line]) == 1


def test_a_flood_of_points_is_cut(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", str(uuid.uuid4()), 1)
    reporter = Reporter(spool, lambda: 0.0, lambda: None)
    column = list(range(20_000))
    series = MetricSeries(name="loss", steps=column, values=[0.5] * 20_000, times=[1.0] * 20_000)
    for _ in range(40):
        reporter.metrics(Metrics(series=[series]))
    reporter.tell(Logs(lines=["end"], times=[0.0]))
    told = [json.loads(line)["body"] for line in spool.batch(1000, 1 << 30)]
    spool.close()
    kept = sum(len(each["steps"]) for body in told if body["type"] == "metrics" for each in body["series"])
    assert POINT_BURST <= kept <= POINT_BURST + 60_000
    lines = [line for body in told if body["type"] == "logs" for line in body["lines"]]
    assert len([line for line in lines if "points dropped" in line]) == 1


def test_folders_nested_deep_and_names_too_long_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    inner = deep
    for _ in range(DEPTH + 2):
        inner /= "d"
        inner.mkdir()
    (inner / "file").write_text("x")
    with pytest.raises(OutputNotUsable, match="nested"):
        list(output_files(tmp_path, "deep", 1 << 30))
    wide = tmp_path / "wide"
    long = wide.joinpath(*("n" * 200 for _ in range(DEPTH // 2)))
    long.mkdir(parents=True)
    for number in range(NAME_BYTES // (DEPTH // 2 * 200) + 2):
        (long / str(number)).touch()
    with pytest.raises(OutputNotUsable, match="names"):
        list(output_files(tmp_path, "wide", 1 << 30))


def test_empty_files_count_against_the_disk_limit(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert disk_bytes(tmp_path) >= 100 * 4096
