"""Fixtures of the data plane's tests: one plane per module, torn down to the last process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import models
from tests.serving.plane import GatewayProcess, Replica, RouteServer, key, route, until


class Plane:
    """Endpoint `digits` of org-a: variants a (scale 1, weight 70), b (scale 2, weight 30); two processes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.routes = RouteServer()
        variants = [
            models.linear_variant(folder / "r", "a", 1.0),
            models.linear_variant(folder / "r", "b", 2.0),
        ]
        spec = models.replica_spec(variants, processes=2)
        models.replica_folder(folder / "r", spec)
        self.replica = Replica(folder / "r", spec)
        self.route = route(spec, folder / "r", {"a": 70, "b": 30})
        self.keys = [key("org-a", "secret-a"), key("org-b", "secret-b"), key("org-a", "old", expires_at=1.0)]
        self.routes.publish([self.route], self.keys)
        self.gateway = GatewayProcess(folder / "home", self.routes.url, 0, *options)

    def wait(self) -> None:
        """Until everything answers."""
        self.replica.wait_ready()
        self.wait_linked(2)
        self._pids = self.replica.children()

    def pids(self) -> list[int]:
        """The replica's processes as they were once everything answered."""
        return self._pids

    @property
    def port(self) -> int:
        return self.gateway.port

    def wait_linked(self, times: int) -> None:
        """Until the gateway's log says `times` times that it linked a process."""
        until(lambda: self.gateway.output.count('"replica process linked"') >= times, 10)

    def close(self) -> None:
        self.gateway.stop()
        self.replica.stop()
        self.routes.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("plane"))
    try:
        made.wait()
        yield made
    finally:
        made.close()
