"""An endpoint that answers, for the pages' tests: rows by the real controller, a real replica and a real gateway."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sqlalchemy import select, update

from backend.core import wire
from backend.core.crypto import LocalKms
from backend.core.ids import new_id
from backend.core.settings import GatewaySettings
from backend.endpoints.models import EndpointConfig, RouteTable, VariantTraffic
from backend.endpoints.models import Replica as ReplicaRow
from backend.endpoints.segments import accept_segment
from backend.fleet.sync import sync
from backend.identity.keys import make_key
from backend.identity.vault import Vault
from tests.endpoints.conftest import World
from tests.serving import models
from tests.serving.plane import GatewayProcess, GrpcGatewayProcess, Replica, RouteServer, until

SIDE, CLASSES = 28, 10
DIGITS: dict[str, Any] = {
    "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, SIDE, SIDE]}],
    "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, CLASSES]}],
    "classes": [str(number) for number in range(CLASSES)],
    "postprocessing": {"probabilities": "softmax over the last axis"},
}


def rows_model(path: Path) -> None:
    """`logits` [n, 10] of `image` [n, 1, 28, 28]: class k is how bright the k-th band of rows is."""
    weights = np.zeros((SIDE * SIDE, CLASSES), np.float32)
    for row in range(SIDE):
        weights[row * SIDE : (row + 1) * SIDE, min(row * CLASSES // SIDE, CLASSES - 1)] = 0.001
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["bright"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["bright"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "rows",
        [info("image", TensorProto.UINT8, ["n", 1, SIDE, SIDE])],
        [info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(weights, "w")],
    )
    models.save(graph, path)


@dataclass
class Plane:
    """A data plane around one tenant's endpoint. `sync` hands the gateway the routing table as it is now."""

    world: World
    row: ReplicaRow
    folder: Path
    routes: RouteServer
    gateway: GatewayProcess
    grpc: GrpcGatewayProcess

    @property
    def settings(self) -> GatewaySettings:
        """How the dashboard reaches it."""
        return GatewaySettings(port=self.gateway.port)

    def sync(self) -> None:
        """Be heard of, build the routing table, and wait until the gateway has applied it."""
        assert self.row.instance_id is not None
        running = wire.RunningAssignment(assignment_id=str(self.row.assignment_id), epoch=1, elapsed_seconds=1.0)
        with self.world.app.unit_of_work(self.world.tenant.scope) as session:
            said = wire.SyncRequest(reports=[], running=[running])
            sync(session, self.world.tenant.scope, self.row.instance_id, said, self.world.context.settings)
        self.world.tick()
        with self.world.controller.unit_of_work() as session:
            body = session.scalars(select(RouteTable.body)).one()
        table = msgspec.convert({"version": 0, **body}, wire.RouteSnapshot)
        self.routes.publish(table.routes, table.keys)
        until(lambda: self.routes.snapshot.version in self.routes.versions_told(), 10)
        applied = f'"routing table applied","version":{self.routes.snapshot.version},'
        until(lambda: applied in self.grpc.output, 10)


@contextmanager
def serving_plane(world: World, endpoint_id: UUID, folder: Path) -> Iterator[Plane]:
    """The endpoint in service, answered by a real replica behind a real gateway, until the block ends."""
    world.tick()
    world.boot()
    world.tick()
    (row,) = world.replicas(endpoint_id, "starting")
    spec = msgspec.convert(world.assignment(row).spec, wire.ReplicaSpec)
    home = folder / "r"
    for variant in spec.variants:
        rows_model(home / "models" / variant.name / "model.onnx")
        (home / "models" / variant.name / "signature.json").write_text(json.dumps(DIGITS))
    models.replica_folder(home, spec)
    replica, routes = Replica(home, spec), RouteServer()
    gateways: list[GatewayProcess] = []
    try:
        gateway = GatewayProcess(folder / "g", routes.url)
        gateways.append(gateway)
        grpc = GrpcGatewayProcess(folder / "g", routes.url)
        gateways.append(grpc)
        replica.wait_ready()
        probes = [wire.VariantProbe(variant=one.name, ok=True, latency_ms=1.0, detail="") for one in spec.variants]
        socket = str(home / "run" / "replica-0.sock")
        world.say(row, wire.Started(pid=replica.pid), wire.ReplicaReady(socket_path=socket, probes=probes))
        world.tick()
        plane = Plane(world, row, folder, routes, gateway, grpc)
        plane.sync()
        until(lambda: all('"replica process linked"' in one.output for one in gateways), 10)
        yield plane
    finally:
        replica.stop()
        for one in gateways:
            one.stop()
        routes.close()


def usage(world: World, variant: str, *, calls: int, latency: dict[int, int] | None = None) -> wire.UsageLine:
    """A line of a segment, of now, by a key of the tenant."""
    return wire.UsageLine(
        at=world.now().timestamp(),
        variant=variant,
        key_id=str(key_of(world)),
        calls=calls,
        items=calls,
        bytes_in=1,
        bytes_out=1,
        compute_us=1000 * calls,
        errors=0,
        latency=latency or {},
    )


def key_of(world: World) -> UUID:
    """An API key of the tenant."""
    with world.app.unit_of_work(world.tenant.scope) as session:
        made_key = make_key(
            session, Vault(LocalKms("A" * 43 + "=")), world.tenant.scope, name="k", role="developer", scopes=(),
            created_by=None, expires_at=None, tags={},
        )  # fmt: skip
        return made_key.key.id


def deliver(world: World, replica: ReplicaRow, *lines: wire.UsageLine) -> None:
    """A usage segment, as the replica's agent delivers it."""
    assignment = world.assignment(replica)
    spec = msgspec.convert(assignment.spec, wire.ReplicaSpec)
    header = wire.UsageHeader(
        segment_id=str(new_id()), replica_id=spec.replica_id, endpoint_id=spec.endpoint_id, opened_at=1.0
    )
    content = b"".join(msgspec.json.encode(one) + b"\n" for one in [header, *lines])
    with world.app.unit_of_work(world.tenant.scope) as session:
        assert accept_segment(session, world.tenant.scope, assignment, UUID(header.segment_id), content)


def grow_older(world: World, age: timedelta) -> None:
    """Move the tenant's traffic and the life of its configs into the past."""
    own = {"organization_id": world.tenant.organization_id}
    with world.controller.unit_of_work() as session:
        for table, columns in ((VariantTraffic, ("from_at", "to_at")), (EndpointConfig, ("live_at",))):
            moved = {name: getattr(table, name) - age for name in columns}
            session.execute(update(table).filter_by(**own).values(moved))
