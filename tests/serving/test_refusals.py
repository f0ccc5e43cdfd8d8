"""Each refusal of the data plane has a request that causes it; no refusal in its code is without one."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import worker.serving
from backend.core.wire import Route, VariantSpec
from docs.generators import refusals as page
from tests.serving import models
from tests.serving.plane import Client, GatewayProcess, Replica, RouteServer, exchange, key, route, until
from tests.serving.refusals import REFUSALS, Refusal

pytestmark = pytest.mark.integration
MODEL_ERROR = 424
UNREACHED = {
    "another endpoint": "the replica gives the connection back, and the gateway answers",
    "unknown key": "the replica gives the connection back, and the gateway answers",
    "the replica does not know this key yet": "lasts as long as a routing table is on its way",
    "this key is not valid": "of a replica that no gateway is linked to (test_handover)",
    "a bearer key is needed": "of a replica that no gateway is linked to; the gateway asks for one before",
    "malformed PROXY header": "only a trusted proxy may send one (test_proxies)",
    "this gateway holds as many connections as it may": "needs as many connections (test_many)",
    "this endpoint holds as many connections as it may": "needs as many connections (test_many)",
    "this key has 4 calls under way, as many as it may": "needs calls at once (test_backpressure)",
    "more calls wait than can be answered in 5 s": "needs calls at once (test_backpressure)",
    "the replica cannot be reached": "a process that ends between being chosen and being linked to",
    "the replica ended while it had this request": "needs a process that dies (test_proxies)",
    "out of memory for an input of this size": "needs a machine without memory (test_parts)",
    "the request did not arrive in time": "test_timeouts waits for it",
    "the head of the request did not arrive in time": "test_timeouts waits for it",
    "a request may have 1024 inputs, outputs and parameters": "over gRPC (test_grpc_bounds)",
    "the request may have 1024 parameters": "over gRPC (test_grpc_bounds)",
    "the answer cannot be written: ": "a form that the model's outputs do not have (test_invocations)",
    "usage cannot be recorded": "needs a full disk (tests/chaos)",
    "the replica failed on this request": "would be a bug",
}
"""Answers that no single request to a whole data plane brings about, and why."""
OVER_GRPC = {
    "there are 1 inputs and 2 raw_input_contents": "test_grpc",
    "input 'input' has both contents and raw_input_contents": "test_grpc",
    "input 'x': BF16 has to be in raw_input_contents": "test_grpc",
    "input 'input' has the unknown datatype 'FP99'": "test_grpc",
    "input 'input': FP32 belongs in fp32_contents, not in int_contents": "test_grpc",
    "input 'input' (INT8): signed char is greater than maximum": "test_grpc",
    "input 'input': shared memory is not supported; send the tensor": "test_grpc",
    "ModelConfig is not offered here": "test_grpc",
    "a bearer key is needed in the metadata: authorization: Bearer …": "test_grpc",
    "a valid bearer key is needed": "test_grpc",
    "there is no service 'other'": "test_grpc",
    "the body may have 1048576 bytes": "test_grpc",
    "the message cannot be read: Error parsing message": "test_grpc",
    "x-modelyard-sticky-key must be printable ASCII": "gRPC itself lets no such value through: a second guard",
    "this key is not valid any more": "a stream that outlives its key",
    "there was no answer in 120 s": "a replica that hangs for two minutes",
    "too many calls wait for this endpoint": "512 calls under way in one process",
    "no descriptors left": "a host without descriptors",
}
"""Answers of the gRPC gateway alone, and which test calls for them."""
BY_OTHER_MODELS = {
    "output 'log' holds NaN or infinity, which JSON has no word for; ask for binary data": "test_oip_http",
    "input 'x': a number is out of the range of BF16": "test_oip_http",
}
"""Answers that take a model which the plane of this module does not have."""


def signed(folder: Path, name: str) -> VariantSpec:
    """A variant whose signature is what its graph declares."""
    return models.graph_variant(folder, name, {"types": models.every_type, "table": models.gather}[name])


def fixed(path: Path) -> None:
    """A linear model that takes batches of two."""
    models.linear(path, scale=1.0, batch=2)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway before the endpoints of `refusals`."""
    folder = tmp_path_factory.mktemp("refusals")
    variants = {
        "digits": [models.linear_variant(folder / "digits", name, 1.0) for name in ("a", "b")],
        "types": [signed(folder / "types", "types")],
        "table": [signed(folder / "table", "table")],
        "paused": [models.linear_variant(folder / "paused", "a", 1.0)],
    }
    variants |= {
        name: [models.graph_variant(folder / name, name, build)]
        for name, build in {"words": models.words, "pictures": models.halves, "fixed": fixed}.items()
    }
    specs = {name: models.replica_spec(given, endpoint=name) for name, given in variants.items()}
    routes: list[Route] = []
    replicas: list[Replica] = []
    for name, spec in specs.items():
        models.replica_folder(folder / name, spec)
        replicas.append(Replica(folder / name, spec))
        routes.append(route(spec, folder / name, {one.name: float(name != "paused") for one in spec.variants}))
    asleep = models.replica_spec([], endpoint="asleep")
    routes.append(route(asleep, folder / "asleep", {}))
    served = RouteServer()
    served.publish(routes, [key("org-a", "secret-a")])
    gateway = GatewayProcess(folder / "home", served.url)
    try:
        for replica in replicas:
            replica.wait_ready()
        until(lambda: gateway.output.count('"replica process linked"') >= len(replicas), 10)
        yield gateway.port
    finally:
        gateway.stop()
        for replica in replicas:
            replica.stop()
        served.close()


def play(port: int, refusal: Refusal) -> tuple[int, str]:
    """Status and message of the answer."""
    if refusal.raw is not None:
        received = exchange(port, refusal.raw)
        assert received, f"no answer to {refusal.said}"
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)["error"]
    with Client(port, refusal.token) as client:
        status, _, answer = client.ask(refusal.method, refusal.path, refusal.body, **refusal.headers)
        content = json.loads(answer)
        if status == MODEL_ERROR:
            return content["OriginalStatusCode"], content["OriginalMessage"]
        return status, content.get("error") or content["Message"]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: f"{one.status} {one.said}")
def test_the_request_is_refused_as_it_is_documented(port: int, refusal: Refusal) -> None:
    status, said = play(port, refusal)
    assert (status, refusal.said in said) == (refusal.status, True), said


def sites() -> Iterator[tuple[int, str]]:
    """Status and message, as a pattern, of every refusal in the code of the data plane."""
    for path in sorted(Path(worker.serving.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"RequestError", "GiveBackError"}:
                status, message = node.args[-2:] if node.func.id == "GiveBackError" else node.args[:2]  # type: ignore[attr-defined] # a Name, as just asked
                assert isinstance(status, ast.Constant), f"{path}:{node.lineno}"
                yield int(str(status.value)), pattern(message)


def pattern(message: ast.expr) -> str:
    """What the message may be."""
    if isinstance(message, ast.Constant):
        return re.escape(str(message.value))
    assert isinstance(message, ast.JoinedStr)
    return "".join(re.escape(str(one.value)) if isinstance(one, ast.Constant) else ".*" for one in message.values)


def test_no_refusal_is_without_a_cause(port: int) -> None:
    said = [play(port, refusal) for refusal in REFUSALS]
    said += [(0, message) for message in (*UNREACHED, *OVER_GRPC, *BY_OTHER_MODELS)]
    missing = {
        (status, expected)
        for status, expected in sites()
        if not any(re.fullmatch(expected, one, re.DOTALL) and found in {0, status} for found, one in said)
    }
    assert missing == set()
    known = [expected for _, expected in sites()]
    told = [*UNREACHED, *OVER_GRPC, *BY_OTHER_MODELS]
    assert [one for one in told if not any(re.fullmatch(expected, one) for expected in known)] == []


def test_the_page_is_what_the_requests_say() -> None:
    assert page.PAGE.read_text() == page.render()
