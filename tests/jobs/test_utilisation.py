"""What assignments use: told by agents, kept once, seen by their organization, merged, forgotten in time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from backend.core import wire
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.ids import floor_id, new_id
from backend.fleet.models import Report, UtilisationChunk
from backend.fleet.utilisation import KEEP_DAYS, SAMPLES_PER_REPORT, Use
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from worker.context import ControlContext
from worker.tasks.fleet import forget_old

pytestmark = pytest.mark.integration

GIB = 1 << 30


def said(count: int = 3, *, first: float = 1000.0, gpu: bool = False, **changes: Any) -> wire.Utilisation:
    """Samples of a second each: cores and bytes rise by one."""
    rising = [float(number) for number in range(count)]
    columns: dict[str, Any] = {
        "cpu_count": 2.0,
        "memory_limit_bytes": 4 * GIB,
        "times": [first + number for number in rising],
        "spans": [1.0] * count,
        "cpu_cores": rising,
        "memory_bytes": [100 + number for number in rising],
        "read_bytes_per_second": [10.0] * count,
        "written_bytes_per_second": [0.0] * count,
    }
    if gpu:
        columns |= {"gpu_count": 2, "gpu_memory_limit_bytes": 80 * GIB}
        columns |= {"gpu_share": [0.25] * count, "gpu_memory_bytes": [float(GIB)] * count}
    return wire.Utilisation(**(columns | changes))


@dataclass
class Talk:
    """A running job, its agent and its owner."""

    job_id: str
    hand: Hand
    assignment: wire.Assignment
    client: TestClient

    def say(self, *bodies: wire.Utilisation) -> None:
        self.hand.sync(*bodies, assignment=self.assignment, elapsed=1.0)

    def read(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.client.get(f"/api/v1/jobs/{self.job_id}/utilisation", params=query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found


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


def test_what_an_attempt_used_is_read_with_its_sums(talk: Talk) -> None:
    assert talk.read() == []
    talk.say(said(2), said(3, first=1010.0, gpu=True))
    (one,) = talk.read()
    assert (one["attempt"], one["cpu_count"], one["memory_limit_bytes"]) == (1, 2.0, 4 * GIB)
    assert (one["gpu_count"], one["gpu_memory_limit_bytes"]) == (2, 80 * GIB)
    assert one["times"] == [1000.0, 1001.0, 1010.0, 1011.0, 1012.0]
    assert one["cpu_cores"] == [0.0, 1.0, 0.0, 1.0, 2.0]
    assert one["gpu_share"] == [None, None, 0.25, 0.25, 0.25]
    assert one["summary"] == {
        "measured_seconds": 5.0,
        "cpu_cores_mean": 0.8,
        "cpu_cores_peak": 2.0,
        "memory_bytes_peak": 102.0,
        "read_bytes": 50.0,
        "written_bytes": 0.0,
        "gpu_share_mean": 0.25,
        "gpu_memory_bytes_peak": float(GIB),
    }


def test_a_replay_stores_nothing_twice_and_wakes_nobody(talk: Talk, app_database: Database, tenant: Tenant) -> None:
    report = wire.Report(assignment_id=talk.assignment.id, epoch=1, seq=2, elapsed_seconds=1.0, body=said())
    for _ in range(2):
        talk.hand.send(wire.SyncRequest(reports=[report]))
    (one,) = talk.read()
    assert len(one["times"]) == 3
    with app_database.unit_of_work(tenant.scope) as session:
        waiting = session.scalars(select(Report.kind).where(Report.assignment_id == UUID(talk.assignment.id))).all()
    assert "utilisation" not in waiting


def test_long_ones_are_merged_and_keep_their_peaks(talk: Talk) -> None:
    peak = [0.0] * 1000
    peak[456] = 3e9
    talk.say(said(1000, memory_bytes=peak, cpu_cores=[1.0, 3.0] * 500))
    (one,) = talk.read(max_points=10)
    assert {len(one[name]) for name in ("times", "spans", "cpu_cores", "memory_bytes", "gpu_share")} == {10}
    assert one["spans"] == [100.0] * 10
    assert one["cpu_cores"] == [2.0] * 10
    assert max(one["memory_bytes"]) == one["summary"]["memory_bytes_peak"] == 3e9
    assert (one["times"][-1], one["summary"]["cpu_cores_peak"]) == (1999.0, 3.0)
    assert one["gpu_share"] == [None] * 10


def test_what_makes_no_sense_is_cut_and_blocks_nothing(talk: Talk) -> None:
    crooked = said(3, spans=[1.0], cpu_cores=[-5.0, 1e300], gpu_count=1, gpu_share=[0.5])
    talk.say(crooked, said(0), said(SAMPLES_PER_REPORT + 500), said(1, memory_limit_bytes=2**62, times=[5e9]))
    (one,) = talk.read(max_points=5000)
    assert len(one["times"]) == 1 + SAMPLES_PER_REPORT + 1
    assert one["cpu_cores"][0] == 0.0
    assert one["gpu_count"] == 0
    assert one["times"][-1] == 5e9


@pytest.mark.parametrize("query", [{"max_points": 2}, {"max_points": 10**6}, {"max_points": "x"}])
def test_questions_without_sense_are_refused(talk: Talk, query: dict[str, Any]) -> None:
    assert talk.client.get(f"/api/v1/jobs/{talk.job_id}/utilisation", params=query).status_code == 422


def test_only_its_organization_sees_it(
    talk: Talk,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    app_database: Database,
) -> None:
    talk.say(said())
    stranger = make_tenant()
    path = f"/api/v1/jobs/{talk.job_id}/utilisation"
    assert make_client(stranger).get(path).status_code == 404
    assert make_client().get(path).status_code == 401
    assert talk.client.get(f"/api/v1/jobs/{new_id()}/utilisation").status_code == 404
    with app_database.unit_of_work(stranger.scope) as session:
        assert session.scalar(select(func.count()).select_from(UtilisationChunk)) == 0


def test_old_ones_are_forgotten(talk: Talk, controller_database: Database, context: ControlContext) -> None:
    talk.say(said(2), said(3, first=2000.0))
    mine = UtilisationChunk.assignment_id == UUID(talk.assignment.id)
    with controller_database.unit_of_work() as session:
        first = session.scalars(select(UtilisationChunk.id).where(mine).order_by(UtilisationChunk.seq)).first()
        old = floor_id(database_now(session) - timedelta(days=KEEP_DAYS + 1))
        session.execute(update(UtilisationChunk).where(UtilisationChunk.id == first).values(id=UUID(int=old.int + 1)))
    assert forget_old(context) >= 1
    (one,) = talk.read()
    assert one["times"] == [2000.0, 2001.0, 2002.0]


def test_merging_weighs_by_time() -> None:
    use = Use(
        times=[10.0, 11.0, 12.0, 13.0],
        spans=[9.0, 1.0, 1.0, 1.0],
        cpu_cores=[1.0, 2.0, 0.0, 4.0],
        memory_bytes=[1.0, 2.0, 3.0, 4.0],
        read_bytes_per_second=[0.0] * 4,
        written_bytes_per_second=[0.0] * 4,
        gpu_share=[None, 0.5, None, None],
        gpu_memory_bytes=[None, 7.0, None, None],
    )
    merged = use.thinned(2)
    assert merged.cpu_cores == [1.1, 2.0]
    assert merged.memory_bytes == [2.0, 4.0]
    assert (merged.gpu_share, merged.gpu_memory_bytes) == ([0.5, None], [7.0, None])
    assert use.thinned(4) is use
    assert Use().summary() is None
