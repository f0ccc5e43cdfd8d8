"""Behind a trusted proxy: one connection, many organizations; and what only a trusted proxy may say."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.serving import models
from tests.serving.conftest import Plane
from tests.serving.plane import (
    GatewayProcess,
    Replica,
    RouteServer,
    exchange,
    key,
    request_bytes,
    route,
    until,
    usage,
)
from tests.serving.raw import Raw, get
from worker.serving import gateway
from worker.serving.errors import RequestError
from worker.serving.peers import V2, TrustedProxies, announced

pytestmark = pytest.mark.integration
TRUST = ("--trusted-proxy", "127.0.0.1")
ONE = [[1.0, 0.0, 0.0, 0.0]]
EXPECTED = {"secret-a": 1.0, "secret-b": 7.0}


class Two:
    """An endpoint `digits` in each of two organizations (scales 1 and 7), and a gateway that trusts this host."""

    def __init__(self, folder: Path) -> None:
        self.routes = RouteServer()
        self.replicas: list[Replica] = []
        routes = []
        for organization, scale in (("org-a", 1.0), ("org-b", 7.0)):
            place = folder / organization
            spec = msgspec.structs.replace(
                models.replica_spec([models.linear_variant(place, "a", scale)]),
                organization_id=organization,
                endpoint_id=f"id-{organization}",
                replica_id=f"replica-{organization}",
            )
            models.replica_folder(place, spec)
            self.replicas.append(Replica(place, spec))
            routes.append(route(spec, place, {"a": 1}))
        self.routes.publish(routes, [key("org-a", "secret-a"), key("org-b", "secret-b")])
        self.gateway = GatewayProcess(folder / "home", self.routes.url, 0, *TRUST)
        self.port = self.gateway.port

    def wait(self) -> None:
        for replica in self.replicas:
            replica.wait_ready()
        until(lambda: self.gateway.output.count('"replica process linked"') >= 2, 10)

    def close(self) -> None:
        self.gateway.stop()
        for replica in self.replicas:
            replica.stop()
        self.routes.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = Two(tmp_path_factory.mktemp("two"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


def first(body: bytes) -> float:
    return float(json.loads(body)["outputs"][0]["data"][0])


def test_two_organizations_on_one_connection_are_never_mixed(two: Two) -> None:
    before = [sum(line.calls for line in usage(replica.folder)) for replica in two.replicas]
    tokens = [("secret-a", "secret-b")[number % 3 % 2] for number in range(300)]
    with Raw(two.port) as raw:
        for number, token in enumerate(tokens):
            answer = raw.ask(request_bytes([[float(number), 0, 0, 0]], token=token))
            assert (answer.status, first(answer.body)) == (200, number * EXPECTED[token])
        raw.send(b"".join(request_bytes([[float(n), 0, 0, 0]], token=token) for n, token in enumerate(tokens)))
        for number, token in enumerate(tokens):
            assert first(raw.answer().body) == number * EXPECTED[token]
        assert raw.ask(request_bytes(ONE, token="wrong")).status == 401
        assert raw.ask(request_bytes(ONE, endpoint="unknown")).status == 404
        assert raw.ask(request_bytes(ONE, token="secret-b")).status == 200
    for replica, known, token in zip(two.replicas, before, ("secret-a", "secret-b"), strict=True):
        lines = usage(replica.folder)
        assert {line.key_id for line in lines} == {f"key-{token}"}
        assert sum(line.calls for line in lines) - known == 2 * tokens.count(token) + (token == "secret-b")


def test_many_connections_at_once_get_their_own_answers(two: Two) -> None:
    wrong: list[tuple[str, float, float]] = []

    def call(number: int) -> None:
        with Raw(two.port) as raw:
            for turn in range(40):
                token = ("secret-a", "secret-b")[(number + turn) % 2]
                value = float(number * 1000 + turn)
                found = first(raw.ask(request_bytes([[value, 0, 0, 0]], token=token)).body)
                if found != value * EXPECTED[token]:
                    wrong.append((token, value, found))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_old_http_and_hop_by_hop_fields_end_at_the_gateway(two: Two) -> None:
    """As nginx speaks by default: HTTP/1.0, Connection: close."""
    request = request_bytes(ONE, extra="Connection: close\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\n")
    old = request.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b"")
    for _ in range(3):
        with Raw(two.port) as raw:
            answer = raw.ask(old)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert raw.closed()
    with Raw(two.port) as raw:
        kept = old.replace(b"Connection: close", b"Connection: keep-alive")
        for _ in range(2):
            assert raw.ask(kept).headers["connection"] == "keep-alive"


def test_a_refused_request_is_passed_over_and_the_next_one_answered(two: Two) -> None:
    with Raw(two.port) as raw:
        for split in (0, 30, 60):
            refused = request_bytes(ONE, token="wrong")
            cut = len(refused) - split
            answer = raw.ask(refused[:cut])
            assert (answer.status, "connection" in answer.headers) == (401, False)
            raw.send(refused[cut:])
            assert raw.ask(request_bytes(ONE)).status == 200
    with Raw(two.port) as raw:  # who waits to be told whether to send the body may send none
        head = request_bytes(ONE, token="wrong", extra="Expect: 100-continue\r\n").partition(b"{")[0]
        assert raw.ask(head).headers["connection"] == "close"
        assert raw.closed()


def test_what_old_http_does_not_know_is_not_sent_on(two: Two) -> None:
    request = request_bytes(ONE, extra="Expect: something\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    with Raw(two.port) as raw:
        assert raw.ask(request).status == 200


def test_a_client_that_closes_its_side_is_answered_over_a_new_connection(two: Two) -> None:
    """The end of what it sends may be seen before the connection to the replica is there."""
    for _ in range(5):
        with contextlib.ExitStack() as held:
            raws = [held.enter_context(Raw(two.port)) for _ in range(20)]
            for raw in raws:
                raw.send(request_bytes(ONE))
                raw.half_close()
            assert {raw.answer().status for raw in raws} == {200}
            assert all(raw.closed() for raw in raws)
    cut = request_bytes(ONE)[:-5]
    assert exchange(two.port, cut, half_close=True) == b""


def test_malformed_chunks_are_refused_over_a_new_connection_too(tmp_path: Path) -> None:
    made = Two(tmp_path)
    try:
        made.wait()
        head = "POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-a\r\n"
        with contextlib.ExitStack() as held:
            raws = [held.enter_context(Raw(made.port)) for _ in range(10)]
            for raw in raws:
                raw.send(f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode())
            assert {raw.answer().status for raw in raws} == {400}
    finally:
        made.close()


def test_an_early_refusal_reaches_a_client_that_is_still_sending(two: Two) -> None:
    head = "POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-a\r\n"
    with Raw(two.port) as raw:
        answer = raw.ask(f"{head}Content-Length: 9000000\r\n\r\n".encode() + bytes(100_000))
        assert (answer.status, answer.headers["connection"]) == (413, "close")
    with Raw(two.port) as raw:
        raw.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"fffff\r\n" + bytes(500_000))
        raw.send(bytes(548_575) + b"\r\n2\r\n")
        assert raw.answer().status == 413


def test_a_revoked_key_is_refused_on_a_pooled_connection(tmp_path: Path) -> None:
    made = Two(tmp_path)
    try:
        made.wait()
        with Raw(made.port) as raw:
            assert raw.ask(request_bytes(ONE)).status == 200
            known = [key("org-a", "new"), key("org-b", "secret-b")]
            made.routes.publish(made.routes.snapshot.routes, known)
            until(lambda: '"version":2' in made.gateway.output, 5)
            assert raw.ask(request_bytes(ONE)).status == 401
            assert raw.ask(request_bytes(ONE, token="new")).status == 200
    finally:
        made.close()


def test_a_process_that_dies_costs_its_own_request_alone(tmp_path: Path) -> None:
    made = Two(tmp_path)
    try:
        made.wait()
        with Raw(made.port) as raw:
            assert raw.ask(request_bytes(ONE)).status == 200
            whole = request_bytes(ONE)
            raw.send(whole[:-5])
            (child,) = made.replicas[0].children()
            until(lambda: len(psutil.Process(child).net_connections("unix")) >= 3, 5)
            os.kill(child, signal.SIGKILL)
            answer = raw.answer()
            assert (answer.status, answer.headers["retry-after"]) == (502, "1")
        with Raw(made.port) as raw:
            assert raw.ask(request_bytes(ONE, token="secret-b")).status == 200
            until(lambda: raw.ask(request_bytes(ONE)).status == 200, 10)
    finally:
        made.close()


class Callers:
    """Four connections that ask until told to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self.answered = 0
        self.broken: list[str] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        try:
            with Raw(self._port) as raw:
                while not self._over.is_set():
                    assert raw.ask(request_bytes(ONE)).status == 200
                    with self._lock:
                        self.answered += 1
        except (AssertionError, OSError, EOFError) as error:
            self.broken.append(repr(error))

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(10)


def test_a_drain_under_load_loses_nothing_behind_a_proxy(tmp_path: Path) -> None:
    """A second replica comes, the first one goes, and then the gateway itself: every request is answered."""
    plane = Plane(tmp_path, *TRUST)
    folder = tmp_path / "second"
    spec = models.replica_spec([models.linear_variant(folder, "a", 1.0), models.linear_variant(folder, "b", 2.0)])
    models.replica_folder(folder, spec)
    second = Replica(folder, spec)
    try:
        plane.wait()
        second.wait_ready()
        callers = Callers(plane.port)
        more = route(spec, folder, {"a": 1}).replicas
        plane.routes.publish(
            [msgspec.structs.replace(plane.route, replicas=[*plane.route.replicas, *more])], plane.keys
        )
        plane.wait_linked(3)
        assert plane.replica.stop() == 0
        seen = callers.answered
        until(lambda: callers.answered > seen + 20, 10)
        callers.stop()
        assert callers.broken == []
        assert plane.gateway.stop() == 0
        assert second.stop() == 0
        metered = sum(line.calls for each in (plane.replica.folder, folder) for line in usage(each))
        assert callers.answered == metered
    finally:
        second.stop()
        plane.close()


# --- who may say what -------------------------------------------------------------------------------


def version_2(address: str) -> bytes:
    kind, family = (socket.AF_INET6, 0x21) if ":" in address else (socket.AF_INET, 0x11)
    addresses = 2 * socket.inet_pton(kind, address) + struct.pack("!HH", 5, 6)
    return V2 + bytes([0x21, family]) + struct.pack("!H", len(addresses)) + addresses


def handed(replica: Replica) -> int:
    """Connections of clients that the replica's processes hold."""
    return sum(len(psutil.Process(pid).net_connections("tcp")) for pid in replica.children())


def test_a_connection_that_is_one_clients_is_handed_over(two: Two) -> None:
    for header in (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", b"PROXY UNKNOWN\r\n", version_2("2001:db8::1")):
        with Raw(two.port, first=header) as raw:
            assert raw.ask(request_bytes(ONE)).status == 200
            assert handed(two.replicas[0]) == 1
        until(lambda: handed(two.replicas[0]) == 0, 5)
    with Raw(two.port) as raw:
        assert raw.ask(request_bytes(ONE)).status == 200
        assert handed(two.replicas[0]) == 0
    for header in (b"PROXY TCP4 x y 5 6\r\n", b"PROXY TCP9\r\n", b"PROXY " + b"x" * 200, V2 + b"\x31\x11\x00\x00"):
        assert exchange(two.port, header + request_bytes(ONE)).startswith(b"HTTP/1.1 400 ")


def test_only_a_trusted_proxy_says_who_the_client_is(plane: Plane, two: Two) -> None:
    header = "X-Forwarded-For: 198.51.100.7, 203.0.113.9, 127.0.0.1\r\n"
    for port in (plane.port, two.port):
        with Raw(port) as raw:
            assert raw.ask(get("/v2/models/digits", token="wrong", extra=header)).status == 401
    assert exchange(plane.port, b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n" + request_bytes(ONE)).startswith(
        b"HTTP/1.1 400 "
    )

    def told(gateway: GatewayProcess) -> list[str]:
        lines = [json.loads(line) for line in gateway.output.splitlines() if "without a valid key" in line]
        return [line["address"] for line in lines]

    until(lambda: "203.0.113.9" in told(two.gateway), 15)
    until(lambda: "127.0.0.1" in told(plane.gateway), 15)
    assert "203.0.113.9" not in told(plane.gateway)
    assert "198.51.100.7" not in told(two.gateway)


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 192.0.2.2", "192.0.2.2"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.7", "192.0.2.1"),
        ("10.0.0.1", "10.0.0.9, 10.0.0.7", "10.0.0.9"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1, nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("192.0.2.9", "192.0.2.1", "192.0.2.9"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(peer: str, told: str, client: str) -> None:
    trusted = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
    assert trusted.client(peer, [(b"x-forwarded-for", told.encode())]) == client


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", version_2("192.0.2.1")])
def test_a_proxy_header_is_waited_for_byte_by_byte(header: bytes) -> None:
    for cut in range(1, len(header)):
        assert announced(header[:cut]) is None
    whole = announced(header + b"GET")
    assert whole is not None
    assert (whole.length, whole.client) == (len(header), "192.0.2.1")
    for other in (b"POST / ", b"G", b"\r\nGET / ", b"PUT / HTTP/1.1"):
        none = announced(other)
        assert none is not None
        assert none.length == 0
    with pytest.raises(RequestError):
        announced(b"PROXY TCP4\r\n")


def test_networks_that_are_none_stop_the_gateway(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path), "--token-file", str(tmp_path / "token"), "--api", "http://127.0.0.1:9"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "raise_descriptor_limit", lambda: None)  # this process is pytest's
        assert gateway.main([*home, "--port", "0", "--trusted-proxy", "10.0.0.1/8"]) == 1
    said = capfd.readouterr()
    assert "has host bits set" in said.out + said.err
