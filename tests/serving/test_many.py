"""Many connections: spread evenly, idle at little cost, and one more than can be held."""

import functools
import json
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.serving import models
from tests.serving.conftest import Plane
from tests.serving.plane import GatewayProcess, Replica, RouteServer, key, request_bytes, route, until
from tests.serving.raw import Raw, get

pytestmark = pytest.mark.integration
ONE = [[1.0, 0.0, 0.0, 0.0]]
IDLE = 5000
LIMIT = 128


def held(plane: Plane) -> list[int]:
    """Clients' connections of each process."""
    return [len(psutil.Process(pid).net_connections("tcp")) for pid in plane.replica.children()]


def _holds(plane: Plane, count: int) -> bool:
    return sum(held(plane)) == count


def test_connections_stay_evenly_spread_while_they_come_and_go(plane: Plane) -> None:
    raws: list[Raw] = []
    try:
        for turn in range(5):
            fresh = [Raw(plane.port, first=request_bytes(ONE)) for _ in range(60)]  # all at once
            assert {raw.answer().status for raw in fresh} == {200}
            raws += fresh
            counts = held(plane)
            assert sum(counts) == len(raws)
            assert abs(counts[0] - counts[1]) <= 0.1 * len(raws), (turn, counts)
            for raw in raws[::3]:
                raw.__exit__()
            del raws[::3]
            left = len(raws)
            until(functools.partial(_holds, plane, left), 5)
            time.sleep(0.1)  # the next report of the load
    finally:
        for raw in raws:
            raw.__exit__()


class Small:
    """A gateway and a replica of one process; `descriptors` of each, 0 = as many as it likes."""

    def __init__(self, folder: Path, *, gateway: int = 0, replica: int = 0) -> None:
        place = folder / "r"
        spec = models.replica_spec([models.linear_variant(place, "a", 1.0)])
        models.replica_folder(place, spec)
        self.routes = RouteServer()
        self.routes.publish([route(spec, place, {"a": 1})], [key("org-a", "secret-a")])
        self.replica = Replica(place, spec, descriptors=replica)
        self.gateway = GatewayProcess(folder / "home", self.routes.url, 0, descriptors=gateway)
        self.port = self.gateway.port
        self.raws: list[Raw] = []

    def wait(self) -> None:
        self.replica.wait_ready()
        until(lambda: '"replica process linked"' in self.gateway.output, 10)

    def open(self, *, first: bytes = b"") -> Raw:
        raw = Raw(self.port, first=first)
        self.raws.append(raw)
        return raw

    def close(self) -> None:
        for raw in self.raws:
            raw.__exit__()
        assert self.gateway.stop() == 0
        assert self.replica.stop() == 0
        self.routes.close()


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Small]:
    made = Small(tmp_path, **request.param)
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("small", [{"gateway": LIMIT}], indirect=True)
def test_a_gateway_over_its_limit_says_so_and_goes_on(small: Small) -> None:
    waiting = [small.open() for _ in range(LIMIT)]
    for _ in range(20):
        answer = small.open().answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "as many connections" in json.loads(answer.body)["error"]
    assert "connections are turned away" in small.gateway.output
    for raw in waiting[:10]:
        raw.__exit__()
    until(lambda: small.open(first=request_bytes(ONE)).answer().status == 200, 5)


@pytest.mark.parametrize("small", [{}], indirect=True)
def test_a_gateway_without_a_descriptor_left_says_so_and_goes_on(small: Small) -> None:
    """The limit falls below what is open: the one descriptor kept for this has to do."""
    taken = {int(each.name) for each in Path(f"/proc/{small.gateway.pid}/fd").iterdir()}
    open_now = next(number for number in range(10_000) if number not in taken)
    _, hard = resource.prlimit(small.gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(small.gateway.pid, resource.RLIMIT_NOFILE, (open_now, hard))
    asking = get("/v2/health/live")
    statuses = [small.open(first=asking).answer().status for _ in range(20)]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) >= 15  # the poll of the routes may leave a descriptor for a moment
    resource.prlimit(small.gateway.pid, resource.RLIMIT_NOFILE, (open_now + 50, hard))
    assert small.open(first=request_bytes(ONE)).answer().status == 200


@pytest.mark.parametrize("small", [{"replica": LIMIT}], indirect=True)
def test_a_full_process_gets_no_more_connections(small: Small) -> None:
    statuses = [small.open(first=request_bytes(ONE)).answer().status for _ in range(LIMIT)]
    taken = statuses.count(200)
    assert LIMIT // 2 < taken < LIMIT
    assert statuses == [200] * taken + [503] * (LIMIT - taken)
    assert small.raws[0].ask(request_bytes(ONE)).status == 200
    for raw in small.raws[:20]:
        raw.__exit__()
    until(lambda: small.open(first=request_bytes(ONE)).answer().status == 200, 5)


@pytest.mark.slow
@pytest.mark.parametrize("small", [{}], indirect=True)
def test_thousands_of_idle_connections_cost_memory_and_little_else(small: Small) -> None:
    """5,000 connections that were answered once and wait; one that asks all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, IDLE + 2000), hard))
    try:
        busy = Raw(small.port)
        before = asked(busy, 1500)
        memory = psutil.Process(small.replica.children()[0]).memory_info().rss
        for at in range(0, IDLE, 250):
            fresh = [small.open(first=get("/v2/models/digits/ready")) for _ in range(at, at + 250)]
            assert {raw.answer().status for raw in fresh} == {200}
        grown = psutil.Process(small.replica.children()[0]).memory_info().rss - memory
        after = asked(busy, 1500)
        busy.__exit__()
        assert grown / IDLE < 10_000
        assert after[1] < 3 * before[1] + 0.005, (before, after)
        per, quantiles = grown / IDLE, [f"{1e3 * each:.2f}" for each in (*before, *after)]
        print(f"{per:.0f} bytes each; p50, p99 in ms before and with them: {quantiles}")  # noqa: T201  shown by pytest -s
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def asked(raw: Raw, times: int) -> tuple[float, float]:
    """p50 and p99 in seconds of requests one after another."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        assert raw.ask(request_bytes(ONE)).status == 200
        taken.append(time.perf_counter() - began)
    cuts = statistics.quantiles(taken, n=100)
    return cuts[49], cuts[98]
