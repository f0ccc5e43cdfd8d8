"""The metric store: what agents said is read whole, from a step on, thinned, and as files."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from backend.core import wire
from backend.jobs.thinning import keep
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand

pytestmark = pytest.mark.integration


@dataclass
class Talk:
    """A running job, its agent and its owner."""

    job_id: str
    hand: Hand
    assignment: wire.Assignment
    client: TestClient

    def say(self, **series: tuple[list[int], list[float]]) -> None:
        said = [
            wire.MetricSeries(name=name, steps=steps, values=values, times=[float(step) for step in steps])
            for name, (steps, values) in series.items()
        ]
        self.hand.sync(wire.Metrics(series=said), assignment=self.assignment, elapsed=1.0)

    def read(self, **query: Any) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/jobs/{self.job_id}/metrics", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["series"]
        return found

    def export(self, **query: Any) -> str:
        answer = self.client.get(f"/api/v1/jobs/{self.job_id}/metrics/export", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def talk(
    tenant: Tenant,
    client: TestClient,
    ready_instance: Callable[..., Hand],
    submit: Callable[..., dict[str, Any]],
    run_jobs: Callable[[Tenant], None],
) -> Talk:
    hand = ready_instance(tenant)
    job = submit(tenant)
    run_jobs(tenant)
    (assignment,) = hand.sync().assignments
    hand.sync(wire.Started(pid=1), assignment=assignment, elapsed=0.0)
    return Talk(job["id"], hand, assignment, client)


def test_a_step_said_again_replaces_the_earlier_point(talk: Talk) -> None:
    talk.say(loss=([1, 2, 3], [3.0, 2.0, 1.0]))
    talk.say(loss=([3, 2, 4], [0.3, 0.2, 0.4]), accuracy=([3], [0.5]))
    series = talk.read()
    assert series["loss"] == {"steps": [1, 2, 3, 4], "values": [3.0, 0.2, 0.3, 0.4], "times": [1.0, 2.0, 3.0, 4.0]}
    assert list(talk.read(name="accuracy")) == ["accuracy"]
    assert talk.read(name="absent") == {}


def test_a_reader_follows_by_step(talk: Talk) -> None:
    talk.say(loss=([1, 2], [3.0, 2.0]), accuracy=([1], [0.5]))
    talk.say(loss=([3, 4], [1.0, 0.5]))
    assert talk.read(after_step=2) == {"loss": {"steps": [3, 4], "values": [1.0, 0.5], "times": [3.0, 4.0]}}
    assert talk.read(after_step=3)["loss"]["steps"] == [4]
    assert talk.read(after_step=4) == {}
    assert talk.read(after_step=-(2**63))["accuracy"]["steps"] == [1]


def test_a_long_series_is_thinned_to_what_it_looks_like(talk: Talk) -> None:
    values = [float(step % 10) for step in range(5000)]
    values[2345] = 1e6
    talk.say(loss=(list(range(5000)), values), few=([1, 2], [0.5, 1.0]))
    found = talk.read(max_points=100)
    loss = found["loss"]
    assert len(loss["steps"]) == len(loss["values"]) == len(loss["times"]) == 100
    assert loss["steps"] == sorted(set(loss["steps"]))
    assert (loss["steps"][0], loss["steps"][-1]) == (0, 4999)
    assert loss["values"][loss["steps"].index(2345)] == 1e6
    assert found["few"]["values"] == [0.5, 1.0]


@pytest.mark.parametrize(
    "query",
    [{"max_points": 2}, {"max_points": 10**6}, {"after_step": 2**63}, {"after_step": "x"}, {"name": "\x00"}],
)
def test_questions_without_sense_are_refused(talk: Talk, query: dict[str, Any]) -> None:
    assert talk.client.get(f"/api/v1/jobs/{talk.job_id}/metrics", params=query).status_code == 422


def test_every_point_as_csv_and_json_lines(talk: Talk) -> None:
    odd = 'a "quoted", name\nof 2 lines'
    talk.say(**{"loss": ([1, 2, 3], [0.1, -2.5, 1e21]), odd: ([7], [1 / 3])})
    talk.say(loss=([2], [1e-300]))
    rows = list(csv.reader(io.StringIO(talk.export(), newline="")))
    assert rows == [
        ["name", "step", "value", "time"],
        [odd, "7", "0.3333333333333333", "7.0"],
        ["loss", "1", "0.1", "1.0"],
        ["loss", "2", "1e-300", "2.0"],
        ["loss", "3", "1e+21", "3.0"],
    ]
    lines = [json.loads(line) for line in talk.export(format="jsonl", name="loss").splitlines()]
    assert lines == [
        {"name": "loss", "step": 1, "value": 0.1, "time": 1.0},
        {"name": "loss", "step": 2, "value": 1e-300, "time": 2.0},
        {"name": "loss", "step": 3, "value": 1e21, "time": 3.0},
    ]
    assert talk.export(name="absent") == "name,step,value,time\r\n"


def test_an_export_is_a_file_of_its_tenant_only(talk: Talk, make_client: Callable[..., TestClient]) -> None:
    path = f"/api/v1/jobs/{talk.job_id}/metrics/export"
    answer = talk.client.get(path, params={"format": "jsonl"})
    assert answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["content-disposition"] == f'attachment; filename="metrics-{talk.job_id}.jsonl"'
    assert talk.client.get(path, params={"format": "xml"}).status_code == 422
    assert make_client().get(path).status_code == 401


def test_an_export_of_many_points_comes_in_order_of_steps(talk: Talk) -> None:
    for chunk in range(4):
        steps = list(range(chunk * 6000, (chunk + 1) * 6000))
        talk.say(loss=(steps, [step / 2 for step in steps]))
    rows = talk.export().splitlines()
    assert len(rows) == 24_001
    assert rows[1:] == [f"loss,{step},{step / 2},{float(step)}" for step in range(24_000)]


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=300), limit=st.integers(3, 50))
def test_thinning_keeps_ends_and_order(values: list[float], limit: int) -> None:
    kept = keep(values, list(range(len(values))), limit)
    assert len(kept) == min(len(values), limit)
    assert kept == sorted(set(kept))
    if values:
        assert (kept[0], kept[-1]) == (0, len(values) - 1)
