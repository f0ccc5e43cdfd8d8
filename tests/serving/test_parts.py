"""The parts of the data plane by themselves: heads, chunks, choice, tensors, usage, table."""

import asyncio
import functools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.core.wire import RouteKey, RouteSnapshot, RouteVariant, UsageHeader, UsageLine
from tests.serving import models
from tests.serving.plane import sha256, usage
from worker.serving import table
from worker.serving.batching import Call, Lane, Outcome, infer
from worker.serving.chunks import ChunkedBody
from worker.serving.errors import ReplicaError, RequestError
from worker.serving.head import Head, parse_head
from worker.serving.model import Model
from worker.serving.syntax import head_end
from worker.serving.tensors import encode_output, parse_request
from worker.serving.usage import UsageLog, recover
from worker.serving.variants import Chooser

pytestmark = pytest.mark.unit


def refused(act: Callable[[], object]) -> int | None:
    """The status of the refusal that `act` raises, None when it raises none."""
    try:
        act()
    except RequestError as refusal:
        return refusal.status
    return None


# --- heads and chunks ---------------------------------------------------------------------------


def test_a_head_is_read() -> None:
    head = parse_head(
        b"POST /v2/models/my%20model/versions/7/infer?x=1 HTTP/1.1\r\nHost: x\r\nAuthorization: bearer  abc \r\n"
        b"Content-Length: 12\r\nX-Modelyard-Sticky-Key: s\r\nInference-Header-Content-Length: 5\r\n\r\n"
    )
    assert (head.kind, head.endpoint, head.version) == ("infer", "my model", "7")
    assert head.token_sha256 == sha256("abc")
    assert (head.content_length, head.tensor_header_bytes, head.sticky_key) == (12, 5, "s")
    assert head.keep_alive
    assert not parse_head(b"GET /v2 HTTP/1.0\r\n\r\n").keep_alive


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Inference-Header-Content-Length: x",
        "no colon",
        "bad name : x",
    ],
)
def test_ambiguous_or_broken_heads_are_refused(lines: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_head(f"POST /v2 HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n".encode())
    assert refusal.value.status == 400


def _parse(raw: bytes) -> Head:
    return parse_head(raw[: head_end(raw)])


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_head_parser(data: bytes) -> None:
    for raw in (data + b"\r\n\r\n", b"POST /" + data + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + data):
        assert refused(functools.partial(_parse, raw)) in {None, 400, 414, 417, 431}


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(1, 7), st.binary(max_size=9))
def test_chunks_are_put_together_however_they_arrive(parts: list[bytes], step: int, rest: bytes) -> None:
    sent = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\na: b\r\n\r\n" + rest
    body, held = ChunkedBody(10_000), b""
    for at in range(0, len(sent), step):
        if body.complete:
            held += sent[at : at + step]
        else:
            held = body.feed(held + sent[at : at + step])
    assert body.complete
    assert (bytes(body.body), held) == (b"".join(parts), rest)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_chunk_decoder(data: bytes) -> None:
    body = ChunkedBody(100)
    assert refused(lambda: body.feed(data)) in {None, 400, 413, 431}
    assert len(body.body) <= 100


# --- choice ---------------------------------------------------------------------------------------


def chooser(**weights: float) -> Chooser:
    variants = [RouteVariant(name=name, weight=weight, model_version_id="") for name, weight in weights.items()]
    return Chooser("endpoint", weights, variants)


def test_draws_follow_relative_weights_and_zero_is_never_drawn() -> None:
    random.seed(7)
    made = chooser(a=0.07, b=0, c=0.03)
    drawn = Counter(made.choose(None, None) for _ in range(20_000))
    assert drawn["b"] == 0
    assert abs(drawn["a"] / 20_000 - 0.7) < 0.015
    assert made.choose("b", None) == "b"


def test_sticky_keys_follow_the_weights_and_move_no_more_than_they_must() -> None:
    before, after = chooser(a=70, b=30), chooser(a=60, b=40)
    subjects = [f"subject {number}" for number in range(5000)]
    first = [before.choose(None, subject) for subject in subjects]
    second = [after.choose(None, subject) for subject in subjects]
    assert abs(first.count("a") / 5000 - 0.7) < 0.03
    moved = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
    assert set(moved) == {("a", "b")}
    assert len(moved) / 5000 < 0.13


def test_nothing_to_choose_from_is_said() -> None:
    with pytest.raises(RequestError) as refusal:
        chooser(a=0).choose(None, None)
    assert refusal.value.status == 503
    with pytest.raises(RequestError) as refusal:
        chooser(a=1).choose("x", None)
    assert refusal.value.status == 400


# --- tensors and batches --------------------------------------------------------------------------

VALUES: dict[str, tuple[str, list[Any]]] = {
    "BOOL": ("BOOL", [True, False]),
    "UINT8": ("UINT8", [0, 255]),
    "INT8": ("INT8", [-128, 127]),
    "UINT16": ("UINT16", [0, 65535]),
    "INT16": ("INT16", [-32768, 32767]),
    "UINT32": ("UINT32", [0, 2**32 - 1]),
    "INT32": ("INT32", [-(2**31), 2**31 - 1]),
    "UINT64": ("UINT64", [0, 2**64 - 1]),
    "INT64": ("INT64", [-(2**63), 2**63 - 1]),
    "FLOAT16": ("FP16", [0.5, -2.0]),
    "FLOAT": ("FP32", [0.25, -3.0]),
    "DOUBLE": ("FP64", [1e300, -0.1]),
    "STRING": ("BYTES", ["", "naïve"]),
}


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("typed")
    models.every_type(folder / "model.onnx")
    return Model.load(folder, "typed", "v1", 1)


def typed_request(**changed: list[Any]) -> bytes:
    values = {kind: changed.get(kind, data) for kind, (_, data) in VALUES.items()}
    inputs = [
        {"name": f"in_{kind}", "datatype": VALUES[kind][0], "shape": [1, 2], "data": data}
        for kind, data in values.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def test_every_datatype_survives_json_and_binary(typed: Model) -> None:
    parsed = parse_request(typed_request(), None, typed)
    outputs = typed.run(parsed.arrays)
    inputs, data = [], b""
    for (kind, (datatype, values)), tensor, found in zip(VALUES.items(), typed.outputs, outputs, strict=True):
        text, _ = encode_output(tensor, found, binary=False)
        assert json.loads(text)["data"] == values, kind
        text, binary = encode_output(tensor, found, binary=True)
        given = {"name": f"in_{kind}", "datatype": datatype, "shape": [1, 2]}
        inputs.append({**given, "parameters": json.loads(text)["parameters"]})
        data += binary
    head = json.dumps({"inputs": inputs}).encode()
    again = typed.run(parse_request(head + data, len(head), typed).arrays)
    for first, second in zip(outputs, again, strict=True):
        assert first.tolist() == second.tolist()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("BOOL", [1, 0]),
        ("BOOL", ["true", "false"]),
        ("UINT8", [0, 256]),
        ("UINT8", [0, -1]),
        ("UINT8", [0, 1.5]),
        ("INT8", [0, True]),
        ("INT64", [0, 2**63]),
        ("FLOAT16", [0, 1e6]),
        ("DOUBLE", [0, "1"]),
        ("STRING", ["a", 1]),
    ],
)
def test_values_outside_their_datatype_are_refused(typed: Model, kind: str, values: list[Any]) -> None:
    with pytest.raises(RequestError) as refusal:
        parse_request(typed_request(**{kind: values}), None, typed)
    assert refusal.value.status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), JSON_VALUES, max_size=3),
    st.one_of(st.none(), st.integers(0, 500)),
)
def test_no_request_breaks_the_parser(typed: Model, changed: dict[str, Any], header: int | None) -> None:
    request = json.loads(typed_request())
    request["inputs"][5].update(changed)
    body = json.dumps(request).encode()
    assert refused(lambda: parse_request(body, header, typed)) in {None, 400}


def call(body: bytes, model: Model, answered: list[bytes]) -> Call:
    return Call(parse_request(body, None, model), "key", len(body), b"", answered.append)


def test_a_bad_call_fails_alone_in_its_batch(tmp_path: Path) -> None:
    models.gather(tmp_path / "model.onnx")
    model = Model.load(tmp_path, "gather", "v1", 1)
    assert model.batchable

    def ask(index: int) -> Call:
        given = {"name": "index", "datatype": "INT64", "shape": [1], "data": [index]}
        return call(json.dumps({"inputs": [given]}).encode(), model, [])

    outcome = infer(model, [ask(1), ask(99), ask(3)])
    found = [result for _, result in outcome.results]
    assert isinstance(found[1], RequestError)
    assert found[1].status == 422
    assert not isinstance(found[0], RequestError)
    assert found[0][0].tolist() == [[2.0, 3.0]]


def test_a_model_with_a_fixed_batch_is_not_batched(tmp_path: Path) -> None:
    models.linear(tmp_path / "model.onnx", scale=1.0, batch=1)
    model = Model.load(tmp_path, "fixed", "v1", 1)
    assert not model.batchable
    assert model.inline
    with pytest.raises(RequestError):
        parse_request(b'{"inputs":[{"name":"input","datatype":"FP32","shape":[2,4],"data":[1]}]}', None, model)


def test_what_one_turn_of_the_loop_has_read_is_one_batch(tmp_path: Path) -> None:
    models.linear(tmp_path / "model.onnx", scale=1.0)
    model = Model.load(tmp_path, "linear", "v1", 1)
    body = json.dumps(
        {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    ).encode()
    sizes: list[int] = []

    async def turn() -> None:
        loop = asyncio.get_running_loop()
        lane = Lane(loop, model, lambda outcome: sizes.append(len(outcome.results)))
        for _ in range(70):
            lane.submit(call(body, model, []))
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(turn())
    assert sizes == [32, 32, 6]


def test_a_slow_model_runs_beside_the_loop(tmp_path: Path) -> None:
    models.slow(tmp_path / "model.onnx")
    model = Model.load(tmp_path, "slow", "v1", 1)
    assert not model.inline
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1024], "data": [1.0] * 1024}]}
    body = json.dumps(request).encode()

    async def ran_in() -> list[str]:
        done = asyncio.Event()
        where: list[str] = []

        def answered(outcome: Outcome) -> None:
            assert outcome.compute_seconds > 0.005
            where.append(threading.current_thread().name)
            done.set()

        lane = Lane(asyncio.get_running_loop(), model, answered)
        lane.submit(call(body, model, []))
        await done.wait()
        return [*where, *(thread.name for thread in threading.enumerate() if thread.name.startswith("slow"))]

    assert asyncio.run(ran_in()) == ["MainThread", "slow_0"]


def test_a_missing_or_broken_model_is_a_replica_error(tmp_path: Path) -> None:
    with pytest.raises(ReplicaError, match="missing"):
        Model.load(tmp_path, "none", "v1", 1)
    (tmp_path / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(ReplicaError, match="broken"):
        Model.load(tmp_path, "broken", "v1", 1)


# --- usage ----------------------------------------------------------------------------------------


def line(calls: int) -> UsageLine:
    return UsageLine(
        at=1.0,
        variant="a",
        key_id="k",
        calls=calls,
        items=calls,
        bytes_in=1,
        bytes_out=1,
        compute_us=1,
        errors=0,
    )


def test_a_segment_is_sealed_with_its_header(tmp_path: Path) -> None:
    spec = models.replica_spec([])
    models.replica_folder(tmp_path, spec)
    log = UsageLog(tmp_path / "usage", spec)
    log.append([line(1), line(2)])
    assert [path.name[:5] for path in (tmp_path / "usage").iterdir()] == ["open-"]
    log.close()
    (sealed,) = (tmp_path / "usage").iterdir()
    header = msgspec.json.decode(sealed.read_bytes().splitlines()[0], type=UsageHeader)
    assert sealed.name == f"sealed-{header.segment_id}.jsonl"
    assert (header.replica_id, header.endpoint_id) == (spec.replica_id, spec.endpoint_id)
    assert [each.calls for each in usage(tmp_path)] == [1, 2]


def test_a_full_segment_makes_room_for_the_next(tmp_path: Path) -> None:
    spec = models.replica_spec([])
    models.replica_folder(tmp_path, spec)
    log = UsageLog(tmp_path / "usage", spec)
    for _ in range(100):
        log.append([line(1)] * 100)
    log.close()
    assert len(list((tmp_path / "usage").glob("sealed-*"))) == 2
    assert sum(each.calls for each in usage(tmp_path)) == 10_000


def test_recovery_seals_dead_segments_without_their_torn_line_and_leaves_living_ones(tmp_path: Path) -> None:
    spec = models.replica_spec([])
    models.replica_folder(tmp_path, spec)
    folder = tmp_path / "usage"
    living = UsageLog(folder, spec)
    living.append([line(5)])
    text = next(folder.iterdir()).read_bytes()
    (folder / "open-dead.jsonl").write_bytes(text + b'{"at":1.0,"vari')
    (folder / "open-empty.jsonl").write_bytes(text.splitlines(keepends=True)[0])
    (folder / ".new-born.jsonl").write_bytes(b"")
    assert recover(folder) == ["dead"]
    assert (folder / "sealed-dead.jsonl").read_bytes() == text
    assert len(list(folder.glob("*"))) == 2
    living.close()


# --- table ----------------------------------------------------------------------------------------


def test_the_table_on_disk_is_private_and_survives_garbage(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    assert table.load(path).version == -1
    keys = [RouteKey(organization_id="o", key_id="k", token_sha256="h", expires_at=None)]
    table.save(path, msgspec.json.encode(RouteSnapshot(version=4, routes=[], keys=keys)))
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = table.load(path)
    assert loaded.version == 4
    assert loaded.key("h") == keys[0]
    path.write_bytes(b"{")
    assert table.load(path).version == -1
