"""What a gateway says to the control plane: the version that it has applied, as soon as it has."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.core.wire import RouteSnapshot
from tests.serving.plane import GATEWAY_TOKEN, GatewayProcess, RouteServer, until
from worker.serving.routesource import POLL_SECONDS, RouteSource


@pytest.fixture
def routes() -> Iterator[RouteServer]:
    """A control plane's routes, version 0."""
    server = RouteServer()
    yield server
    server.close()


@pytest.fixture
def start(routes: RouteServer, tmp_path: Path) -> Iterator[Callable[[Callable[[RouteSnapshot], None]], None]]:
    """Start polling with a `take`; stopped afterwards."""
    token = tmp_path / "token"
    token.write_text(GATEWAY_TOKEN)
    started: list[RouteSource] = []

    def begin(take: Callable[[RouteSnapshot], None]) -> None:
        path = tmp_path / "routes.json"
        started.append(RouteSource(api=routes.url, token_file=token, path=path, version=-1, take=take))
        started[-1].start()

    yield begin
    for source in started:
        source.stop()
        source.join(10)


def test_a_table_that_is_not_applied_yet_is_not_told(
    routes: RouteServer, start: Callable[[Callable[[RouteSnapshot], None]], None]
) -> None:
    taken, applied = threading.Event(), threading.Event()

    def take(_: RouteSnapshot) -> None:
        taken.set()
        assert applied.wait(10)

    start(take)
    assert taken.wait(5)
    assert not applied.wait(POLL_SECONDS * 1.2)
    assert routes.versions_told() == [-1]
    applied.set()
    until(lambda: routes.versions_told() == [-1, 0], POLL_SECONDS / 2)


def test_a_table_that_could_not_be_applied_is_fetched_again(
    routes: RouteServer, start: Callable[[Callable[[RouteSnapshot], None]], None]
) -> None:
    tries: list[int] = []

    def take(snapshot: RouteSnapshot) -> None:
        tries.append(snapshot.version)
        if len(tries) == 1:
            raise TimeoutError("the loop is busy")

    start(take)
    until(lambda: routes.versions_told() == [-1, -1, 0], 5)
    assert tries == [0, 0]


def test_a_gateway_tells_what_it_has_applied(routes: RouteServer, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "home", routes.url)
    try:
        until(lambda: routes.versions_told()[-1:] == [0], 10)
        routes.publish([], [])
        until(lambda: routes.versions_told()[-1:] == [1], 5)
        assert gateway.output.count('"routing table applied"') == 2
        assert set(routes.versions_told()) == {-1, 0, 1}
    finally:
        assert gateway.stop() == 0
