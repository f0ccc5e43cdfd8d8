"""A plane for the Open Inference Protocol: both gateways and endpoints of every datatype."""

from pathlib import Path

from tests.serving import models
from tests.serving.conftest import Plane
from tests.serving.plane import GrpcGatewayProcess, Replica, route, until

LINKS = 4


class ProtocolPlane(Plane):
    """`digits` (variants a and b), `types` (every datatype numpy has), `half` (BF16, and NaN), and both gateways."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        graphs = {"types": models.every_type, "half": models.half}
        self.others: dict[str, Replica] = {}
        routes = [self.route]
        for name, graph in graphs.items():
            spec = models.replica_spec([models.graph_variant(folder / name, "only", graph)], endpoint=name)
            models.replica_folder(folder / name, spec)
            self.others[name] = Replica(folder / name, spec)
            routes.append(route(spec, folder / name, {"only": 1}))
        self.routes.publish(routes, self.keys)
        self.grpc = GrpcGatewayProcess(folder / "home", self.routes.url)

    def wait(self) -> None:
        super().wait()
        for one in self.others.values():
            one.wait_ready()
        self.wait_linked(LINKS)
        until(lambda: self.grpc.output.count('"replica process linked"') >= LINKS, 10)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    def close(self) -> None:
        self.grpc.stop()
        for one in self.others.values():
            one.stop()
        super().close()
