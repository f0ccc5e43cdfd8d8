"""The Open Inference Protocol over gRPC as tritonclient speaks it, through the gateway process of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import models
from tests.serving.conftest import Plane
from tests.serving.plane import GrpcGatewayProcess, Replica, key, route, until, usage

pytestmark = pytest.mark.integration

triton = pytest.importorskip("tritonclient.grpc")
grpc = pytest.importorskip("grpc")

KEY = {"authorization": "Bearer secret-a"}
VARIANT_B = KEY | {"x-modelyard-target-variant": "b"}


class GrpcPlane(Plane):
    """A plane with a gRPC gateway beside the other one, and a second endpoint `types` of every datatype."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        spec = models.replica_spec([models.graph_variant(folder / "t", "only", models.every_type)], endpoint="types")
        models.replica_folder(folder / "t", spec)
        self.types = Replica(folder / "t", spec)
        self.types_route = route(spec, folder / "t", {"only": 1})
        self.keys.append(key("org-a", "prüf-ä"))
        self.routes.publish([self.route, self.types_route], self.keys)
        self.grpc = GrpcGatewayProcess(folder / "home", self.routes.url)

    def wait(self) -> None:
        super().wait()
        self.types.wait_ready()
        self.wait_linked(3)
        until(lambda: self.grpc.output.count('"replica process linked"') >= 3, 10)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    def close(self) -> None:
        self.grpc.stop()
        self.types.stop()
        super().close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcPlane]:
    made = GrpcPlane(tmp_path_factory.mktemp("grpc"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture
def client(served: GrpcPlane) -> Iterator[Any]:
    made = triton.InferenceServerClient(served.address)
    yield made
    made.close()


def rows(count: int, value: float = 1.0) -> list[Any]:
    given = triton.InferInput("input", [count, 4], "FP32")
    given.set_data_from_numpy(np.full((count, 4), value, np.float32))
    return [given]


def test_tritonclient_with_its_defaults(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    answer = client.infer("digits", rows(3), headers=VARIANT_B)
    assert answer.as_numpy("logits").tolist() == [[8.0] * 3] * 3
    assert answer.get_response().model_name == "digits"
    assert answer.get_response().model_version == "version-b"
    assert answer.get_response().parameters["variant"].string_param == "b"
