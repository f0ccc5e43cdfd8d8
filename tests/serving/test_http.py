"""HTTP as the world speaks it, over raw sockets: what a gateway and a replica answer, and what they refuse."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.serving.conftest import Plane
from tests.serving.plane import PROBE_TOKEN, GatewayProcess, exchange, infer_body, request_bytes, until
from tests.serving.raw import Raw, get
from worker.serving import packets

pytestmark = pytest.mark.integration
INFER = "/v2/models/digits/infer"
ONE = [[1.0, 0.0, 0.0, 0.0]]
BODY = json.dumps(infer_body(ONE)).encode()


class Doors:
    """Three ways to one replica: handed over, through the pool of a gateway that trusts this host, and straight."""

    def __init__(self, plane: Plane, trusting: GatewayProcess) -> None:
        self.plane = plane
        self.handed = plane.port
        self.pooled = trusting.port
        self.straight = plane.replica.folder / "run" / "replica-0.sock"


@pytest.fixture(scope="module")
def doors(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    trusting = GatewayProcess(
        tmp_path_factory.mktemp("trusting"), plane.routes.url, 0, "--trusted-proxy", "127.0.0.0/8"
    )
    try:
        until(lambda: trusting.output.count('"replica process linked"') == 2, 10)
        yield Doors(plane, trusting)
    finally:
        assert trusting.stop() == 0


@pytest.fixture(params=["handed", "pooled"])
def port(request: pytest.FixtureRequest, doors: Doors) -> int:
    return int(getattr(doors, request.param))


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n", extra: str = "", size: str = "%x\r\n") -> bytes:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-a\r\nTransfer-Encoding: chunked\r\n"
    pieces = b"".join((size % len(part)).encode() + part + b"\r\n" for part in parts)
    return f"{head}{extra}\r\n".encode() + pieces + end


def test_many_requests_of_every_framing_on_one_connection(port: int) -> None:
    with Raw(port) as raw:
        for _ in range(3):
            assert raw.ask(request_bytes(ONE)).status == 200
            assert raw.ask(chunked(BODY[:9], BODY[9:])).status == 200
            trailer = b"0\r\nDigest: x\r\nX-Other: y\r\n\r\n"
            assert raw.ask(chunked(BODY, end=trailer, size='%x;name="va lue";x\r\n')).status == 200
            assert raw.ask(b"\r\n" + request_bytes(ONE)).status == 200
            assert raw.ask(get("/v2/models/digits")).status == 200
            assert raw.ask(get("/v2/health/live", token=None)).status == 200
            absolute = get(INFER.replace("infer", "ready")).replace(b" /v2", b" http://X:80/v2", 1)
            assert raw.ask(absolute).status == 200


def test_requests_in_one_go_are_answered_in_order(port: int) -> None:
    calls = [float(number) for number in range(100)]
    target = "X-Modelyard-Target-Variant: a\r\n"
    with Raw(port) as raw:
        raw.send(b"".join(request_bytes([[call, 0, 0, 0]], extra=target) for call in calls))
        raw.half_close()
        for call in calls:
            assert json.loads(raw.answer().body)["outputs"][0]["data"][0] == call
        assert raw.closed()


def test_head_has_the_headers_of_get_and_no_body(port: int) -> None:
    with Raw(port) as raw:
        for path in ("/v2/models/digits", "/v2/models/digits/ready", "/v2/health/live", "/v2"):
            shown = raw.ask(get(path))
            bare = raw.ask(get(path, method="HEAD"), bare=True)
            assert (bare.status, bare.headers) == (200, shown.headers)
            assert int(bare.headers["content-length"]) == len(shown.body)
    with Raw(port) as raw:
        refused = raw.ask(get("/v2/models/digits", method="HEAD", token="wrong"), bare=True)
        assert refused.status == 401
        if "connection" in refused.headers:
            assert raw.closed()


def test_options_and_405_name_the_methods(port: int) -> None:
    with Raw(port) as raw:
        for path, allow in (
            (INFER, "POST, OPTIONS"),
            ("/v2/models/digits", "GET, HEAD, OPTIONS"),
            ("/v2/health/live", "GET, HEAD, OPTIONS"),
            ("*", "GET, HEAD, POST, OPTIONS"),
        ):
            answer = raw.ask(get(path, method="OPTIONS", token=None))
            assert (answer.status, answer.headers["allow"], answer.body) == (204, allow, b"")
    for path, method, allow in (
        (INFER, "GET", "POST, OPTIONS"),
        (INFER, "HEAD", "POST, OPTIONS"),
        ("/v2/models/digits", "DELETE", "GET, HEAD, OPTIONS"),
        ("/v2/health/live", "BREW", "GET, HEAD, OPTIONS"),
    ):
        with Raw(port) as raw:
            answer = raw.ask(get(path, method=method), bare=method == "HEAD")
            assert (answer.status, answer.headers["allow"]) == (405, allow)


def test_expect_100_continue(port: int) -> None:
    whole = request_bytes(ONE, extra="Expect: 100-Continue\r\n")
    cut = whole.index(b"\r\n\r\n") + 4
    with Raw(port) as raw:
        for _ in range(2):
            assert raw.ask(whole[:cut]).status == 100
            assert raw.ask(whole[cut:]).status == 200
        assert raw.ask(whole).status == 200  # the body is there: nobody has to be told to send it
        assert raw.ask(chunked(extra="Expect: 100-continue\r\n", end=b"")).status == 100
        assert raw.ask(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)).status == 200
    with Raw(port) as raw:
        assert (
            raw.ask(get(INFER, method="POST", extra="Expect: 100-continue\r\nContent-Length: 2000000\r\n")).status
            == 413
        )
    old = whole[:cut].replace(b"HTTP/1.1", b"HTTP/1.0") + whole[cut:]
    with Raw(port) as raw:
        assert raw.ask(old).status == 200
        assert raw.closed()


def test_a_client_that_has_sent_all_and_closed_its_side_is_answered(port: int) -> None:
    for sent in (request_bytes(ONE), chunked(BODY)):
        with Raw(port) as raw:
            raw.send(sent)
            raw.half_close()
            assert raw.answer().status == 200
            assert raw.closed()
    for cut in (20, 90, len(request_bytes(ONE)) - 3):
        assert exchange(port, request_bytes(ONE)[:cut], half_close=True) == b""


def test_a_large_body_and_a_large_answer_pass_at_the_pace_of_the_slower(port: int) -> None:
    rows = [[float(row), 0.0, 0.0, 0.0] for row in range(9000)]
    with Raw(port) as raw:
        for _ in range(2):
            raw.send(request_bytes(rows, extra="X-Modelyard-Target-Variant: a\r\n") * 3)
            for _ in range(3):
                answer = raw.answer()
                assert json.loads(answer.body)["outputs"][0]["data"][-1] == 8999.0


# --- the three doors judge alike --------------------------------------------------------------------


def straight(doors: Doors, sent: bytes) -> bytes:
    """What the replica itself says, without a gateway."""
    with packets.connect(doors.straight) as line:
        ours, theirs = socket.socketpair()
        with theirs:
            line.settimeout(5)
            socket.send_fds(line, [packets.CONNECTION], [theirs.fileno()])
        with ours:
            ours.settimeout(5)
            received = b""
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                ours.sendall(sent)
                ours.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while data := ours.recv(65536):
                    received += data
            return received


def statuses(received: bytes) -> list[tuple[int, bool]]:
    """Of every answer in what was received: the status, and whether it says that it is the last."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        found.append((int(lines[0].split()[1]), b"connection: close" in lines))
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        received = rest[length:]
    return found


LINES = st.sampled_from(
    [
        f"POST {INFER} HTTP/1.1",
        f"POST {INFER} HTTP/1.1",
        f"POST {INFER} HTTP/1.0",
        f"POST  {INFER} HTTP/1.1",
        f"POST {INFER} HTTP/1.1 ",
        f"POST {INFER} HTTP/2.0",
        f"POST http://x{INFER} HTTP/1.1",
        f"POST http://y{INFER} HTTP/1.1",
        f"POST x{INFER} HTTP/1.1",
        f"GET {INFER} HTTP/1.1",
        "GET /v2/models/digits HTTP/1.1",
        "GET /v2/health/live HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET * HTTP/1.1",
        "",
    ]
)
FIELDS = st.sampled_from(
    [
        "Content-Length: {length}",
        "Content-Length: {length}",
        "Content-Length: +{length}",
        "Content-Length : {length}",
        "Content-Length: {length}, {length}",
        "Content-Length:{length}",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: identity",
        "Host: x",
        "Host: y",
        "Host: x y",
        "Host:",
        "X: a\r\n b",
        "X: a\nY: b",
        "X: a\rY: b",
        "X: a\0b",
        "X\t: a",
        "Expect: 100-continue",
        "Expect: no",
        "Connection: close",
        "Connection: keep-alive",
        "no colon",
        ": nothing",
        "X: é",
    ]
)
PIECES = st.sampled_from(
    [
        b"%x\r\n%b\r\n",
        b"%X;a=b\r\n%b\r\n",
        b"0%x\r\n%b\r\n",
        b"%x \r\n%b\r\n",
        b"0x%x\r\n%b\r\n",
        b"%x\n%b\n",
        b"%x\r\n%b",
    ]
)
ENDS = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\nA : b\r\n\r\n", b"0\r\n\n", b"00\r\n\r\n", b"0\r\n b: c\r\n\r\n", b""]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is good, or that one reader or another might take for one."""
    fields = [*draw(st.lists(FIELDS, max_size=3)), *draw(st.sampled_from([["Host: x"], ["Host: x"], []]))]
    fields.append("Authorization: Bearer secret-a")
    body = draw(st.sampled_from([BODY, BODY, b"", b"{}"]))
    if any("ransfer" in field for field in fields):
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        sent = b"".join(draw(PIECES) % (len(part), part) for part in parts) + draw(ENDS)
    else:
        sent = body
    lines = [draw(LINES), *draw(st.permutations(fields))]
    return "\r\n".join(lines).replace("{length}", str(len(body))).encode() + b"\r\n\r\n" + sent


def judged(received: bytes) -> list[tuple[int, bool]]:
    """Final answers as they compare: to the first refusal, after which one door closes and another need not."""
    final = [answer for answer in statuses(received) if answer[0] != 100]
    refused = next((at for at, answer in enumerate(final) if answer[0] >= 400), len(final))
    return final[: refused + 1]


def alike(one: list[tuple[int, bool]], other: list[tuple[int, bool]]) -> bool:
    """The same statuses, as far as neither door has said that it closes."""
    shorter, longer = sorted((one, other), key=len)
    same = all(mine[0] == theirs[0] for mine, theirs in zip(shorter, longer, strict=False))
    return same and (len(one) == len(other) or bool(shorter and shorter[-1][1]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(requests(), min_size=1, max_size=2).map(b"".join))
def test_gateway_pool_and_replica_judge_alike(doors: Doors, sent: bytes) -> None:
    """Handed over, pooled and straight: the same bytes get the same statuses, but where the key is asked first."""
    key = PROBE_TOKEN.encode()
    expected = judged(straight(doors, sent.replace(b"secret-a", key)))
    for door in (doors.handed, doors.pooled):
        found = judged(exchange(door, sent, half_close=True))
        assert alike(found, expected), (sent, found, expected)
    assert all(status < 500 for status, _ in expected)


@pytest.mark.slow
@settings(
    max_examples=400,
    derandomize=True,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sent=st.lists(requests(), min_size=1, max_size=3).map(b"".join))
def test_the_doors_judge_alike_for_longer(doors: Doors, sent: bytes) -> None:
    test_gateway_pool_and_replica_judge_alike.hypothesis.inner_test(doors, sent)  # type: ignore[attr-defined] # hypothesis keeps the test it wraps


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=requests(), data=st.data())
def test_where_a_request_is_cut_changes_nothing(doors: Doors, sent: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, max(1, len(sent) - 1)))
    for door in (doors.handed, doors.pooled):
        whole = [status for status, _ in judged(exchange(door, sent, half_close=True))]
        with Raw(door, first=sent[:cut]) as raw:
            found = _rest(raw, sent[cut:])
        assert found[: len(whole)] == whole


def _rest(raw: Raw, rest: bytes) -> list[int]:
    """Send the rest a moment later; the statuses of all that is answered."""
    time.sleep(0.002)
    with contextlib.suppress(OSError):
        raw.send(rest)
        raw.half_close()
    found = []
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            answer = raw.answer()
            if answer.status != 100:
                found.append(answer.status)
    return found


def test_every_cut_of_a_good_request_is_the_same_request(doors: Doors) -> None:
    """In two pieces at every byte, at both doors; many at once, so that it takes no time."""
    sent = chunked(BODY[:5], BODY[5:], end=b"0\r\nA: b\r\n\r\n", extra="Connection: close\r\n")
    for door in (doors.handed, doors.pooled):
        for first in range(1, len(sent), 100):
            cuts = range(first, min(first + 100, len(sent)))
            with contextlib.ExitStack() as held:
                raws = [held.enter_context(Raw(door, first=sent[:cut])) for cut in cuts]
                for raw, cut in zip(raws, cuts, strict=True):
                    raw.send(sent[cut:])
                assert {raw.answer().status for raw in raws} == {200}
