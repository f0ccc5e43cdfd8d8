"""The Open Inference Protocol over gRPC as tritonclient speaks it, through the gateway process of its own."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.serving.plane import until, usage
from tests.serving.protocol import ProtocolPlane

pytestmark = pytest.mark.integration

triton = pytest.importorskip("tritonclient.grpc")
grpc = pytest.importorskip("grpc")

KEY = {"authorization": "Bearer secret-a"}
VARIANT_B = KEY | {"x-modelyard-target-variant": "b"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtocolPlane]:
    made = ProtocolPlane(tmp_path_factory.mktemp("grpc"))
    try:
        made.wait()
        yield made
    finally:
        made.close()


@pytest.fixture
def client(served: ProtocolPlane) -> Iterator[Any]:
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


def refused(code: str, words: str | None = None) -> Any:
    """Expect tritonclient's exception with this gRPC status."""
    from tritonclient.utils import InferenceServerException

    return pytest.raises(InferenceServerException, check=lambda e: e.status() == f"StatusCode.{code}", match=words)


def test_server_and_model_metadata(client: Any) -> None:
    server = client.get_server_metadata()
    assert (server.name, server.version) == ("modelyard", "0.1.0")
    found = client.get_model_metadata("digits", headers=KEY)
    assert list(found.versions) == ["version-a", "version-b"]
    assert [(one.name, one.datatype, list(one.shape)) for one in found.inputs] == [("input", "FP32", [-1, 4])]
    assert [(one.name, one.datatype, list(one.shape)) for one in found.outputs] == [("logits", "FP32", [-1, 3])]
    assert client.is_model_ready("digits", headers=KEY)
    assert client.is_model_ready("digits", "version-a", headers=KEY)
    assert client.is_model_ready("digits", "b", headers=KEY)
    index = client.get_model_repository_index(headers=KEY).models
    assert {(one.name, one.version, one.state) for one in index} == {
        ("digits", "version-a", "READY"),
        ("digits", "version-b", "READY"),
        ("types", "version-only", "READY"),
        ("half", "version-only", "READY"),
    }


def test_every_datatype_and_an_id_that_is_not_ascii(client: Any) -> None:
    numbers = [[0, 1], [2, 3]]
    kinds = {
        "BOOL": ("BOOL", np.array([[False, True], [True, False]])),
        **{kind: (kind, np.array(numbers, kind.lower())) for kind in ("UINT8", "INT8", "UINT16", "INT16", "UINT32")},
        **{kind: (kind, np.array(numbers, kind.lower())) for kind in ("INT32", "UINT64", "INT64")},
        "FLOAT16": ("FP16", np.array(numbers, np.float16)),
        "FLOAT": ("FP32", np.array([[0.5, np.nan], [np.inf, -0.0]], np.float32)),
        "DOUBLE": ("FP64", np.array(numbers, np.float64)),
        "STRING": ("BYTES", np.array([["ä", ""], ["日本", "x" * 70000]], dtype=object)),
    }
    inputs = []
    for kind, (datatype, values) in kinds.items():
        one = triton.InferInput(f"in_{kind}", [2, 2], datatype)
        one.set_data_from_numpy(values)
        inputs.append(one)
    answer = client.infer("types", inputs, headers=KEY, request_id="αβγ")
    assert answer.get_response().id == "αβγ"
    for kind, (datatype, values) in kinds.items():
        found = answer.as_numpy(f"out_{kind}")
        if datatype == "BYTES":
            assert [text.decode() for text in found.reshape(-1)] == values.reshape(-1).tolist()
        else:
            assert found.dtype == values.dtype
            assert found.tobytes() == values.tobytes(), kind


def test_bf16_and_nan(client: Any) -> None:
    given = triton.InferInput("x", [1, 2], "BF16")
    given.set_data_from_numpy(np.array([[1.5, -1.0]], ml_dtypes.bfloat16))
    answer = client.infer("half", [given], headers=KEY)
    assert answer.as_numpy("doubled").astype(np.float32).tolist() == [[3.0, -2.0]]
    assert np.isnan(answer.as_numpy("log")).tolist() == [[False, True]]


def test_typed_contents(client: Any) -> None:
    from tritonclient.grpc import service_pb2 as pb

    request = pb.ModelInferRequest(model_name="digits", model_version="b")
    contents = pb.InferTensorContents(fp32_contents=[0.5, 1, 2, 4])
    request.inputs.add(name="input", datatype="FP32", shape=[1, 4], contents=contents)
    answer = raise_for(client, request)
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [15.0] * 3
    request = pb.ModelInferRequest(model_name="half")
    request.inputs.add(name="x", datatype="BF16", shape=[1, 2], contents=pb.InferTensorContents(fp32_contents=[1, 2]))
    with refused("INVALID_ARGUMENT", "BF16 has to be in raw_input_contents"):
        raise_for(client, request)


def raise_for(client: Any, request: Any) -> Any:
    """The raw call, its error as tritonclient's."""
    from tritonclient.utils import InferenceServerException

    try:
        return client._client_stub.ModelInfer(request, metadata=[("authorization", "Bearer secret-a")], timeout=10)  # noqa: SLF001  no other way to send a message that tritonclient would not make
    except grpc.RpcError as error:
        raise InferenceServerException(error.details(), status=str(error.code())) from None


def test_selected_outputs_in_the_order_asked(client: Any) -> None:
    answer = client.infer("digits", rows(1), outputs=[triton.InferRequestedOutput("logits")], headers=KEY)
    assert [one.name for one in answer.get_response().outputs] == ["logits"]
    with refused("INVALID_ARGUMENT", "unknown output 'nothing'"):
        client.infer("digits", rows(1), outputs=[triton.InferRequestedOutput("nothing")], headers=KEY)


def test_a_version_is_a_model_version_or_a_variant(client: Any) -> None:
    for version, scale in (("version-a", 4.0), ("a", 4.0), ("version-b", 8.0), ("b", 8.0)):
        answer = client.infer("digits", rows(1), model_version=version, headers=KEY)
        assert answer.as_numpy("logits").tolist() == [[scale] * 3]
    with refused("NOT_FOUND", "there is no version '7'"):
        client.infer("digits", rows(1), model_version="7", headers=KEY)


def test_a_sticky_key_meets_one_variant(client: Any) -> None:
    met: dict[str, set[str]] = {}
    for _ in range(3):
        for subject in range(20):
            answer = client.infer("digits", rows(1), headers=KEY | {"x-modelyard-sticky-key": f"subject-{subject}"})
            met.setdefault(f"{subject}", set()).add(answer.get_response().parameters["variant"].string_param)
    assert all(len(variants) == 1 for variants in met.values())
    assert set.union(*met.values()) == {"a", "b"}


@pytest.mark.parametrize(
    ("headers", "model", "code"),
    [
        ({}, "digits", "UNAUTHENTICATED"),
        ({"authorization": "Bearer wrong"}, "digits", "UNAUTHENTICATED"),
        ({"authorization": "Basic secret-a"}, "digits", "UNAUTHENTICATED"),
        ({"authorization": "Bearer old"}, "digits", "UNAUTHENTICATED"),
        ({"authorization": "Bearer secret-b"}, "digits", "NOT_FOUND"),
        (KEY, "nothing", "NOT_FOUND"),
        (KEY, "", "NOT_FOUND"),
        (KEY, "ключ/../digits", "NOT_FOUND"),
        (KEY | {"x-modelyard-target-variant": "nothing"}, "digits", "INVALID_ARGUMENT"),
    ],
)
def test_who_may_not_and_what_is_not_there(client: Any, headers: dict[str, str], model: str, code: str) -> None:
    with refused(code):
        client.infer(model, rows(1), headers=headers)


def test_methods_beyond_the_protocol_say_so(client: Any) -> None:
    with refused("UNIMPLEMENTED", "ModelConfig is not offered here"):
        client.get_model_config("digits", headers=KEY)


def typed(**contents: Any) -> Any:
    """Replaces the raw contents of the one input."""

    def change(request: Any, one: Any) -> None:
        del request.raw_input_contents[:]
        for field, value in contents.items():
            getattr(one.contents, field).append(value)

    return change


def shaped(*shape: int) -> Any:
    def change(_request: Any, one: Any) -> None:
        one.shape[:] = shape

    return change


def named(**names: str) -> Any:
    def change(_request: Any, one: Any) -> None:
        for field, value in names.items():
            setattr(one, field, value)

    return change


def without_inputs(request: Any, _one: Any) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def given_twice(request: Any, one: Any) -> None:
    request.inputs.append(one)
    request.raw_input_contents.append(bytes(16))


def too_short(request: Any, _one: Any) -> None:
    request.raw_input_contents[0] = bytes(12)


def too_many(request: Any, _one: Any) -> None:
    request.raw_input_contents.append(b"x")


def both(_request: Any, one: Any) -> None:
    one.contents.fp32_contents.append(1.0)


def small_integer(request: Any, one: Any) -> None:
    one.datatype = "INT8"
    typed(int_contents=1000)(request, one)


def unknown_datatype(request: Any, one: Any) -> None:
    one.datatype = "FP99"
    typed()(request, one)


def shared_memory(_request: Any, one: Any) -> None:
    one.parameters["shared_memory_region"].string_param = "region"


def bad(change: Any) -> Any:
    """A request that is wrong in one way."""
    from tritonclient.grpc import service_pb2 as pb

    request = pb.ModelInferRequest(model_name="digits")
    one = request.inputs.add(name="input", datatype="FP32", shape=[1, 4])
    request.raw_input_contents.append(bytes(16))
    change(request, one)
    return request


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (named(name="other"), "unknown input 'other'"),
        (without_inputs, "inputs must be a list"),
        (given_twice, "given twice"),
        (named(datatype="FP64"), "has datatype FP32, not 'FP64'"),
        (unknown_datatype, "unknown datatype 'FP99'"),
        (shaped(1, 5), "needs a shape like"),
        (shaped(-1, 4), "every dimension must be"),
        (shaped(0, 4), "every dimension must be"),
        (shaped(2**62, 4), "bytes where its shape"),
        (shaped(), "needs a shape like"),
        (too_short, "has 12 bytes where its shape and datatype say 16"),
        (too_many, "1 inputs and 2 raw_input_contents"),
        (both, "both contents and raw_input_contents"),
        (typed(int_contents=1), "FP32 belongs in fp32_contents, not in int_contents"),
        (small_integer, "INT8"),
        (shared_memory, "shared memory is not supported"),
    ],
)
def test_a_bad_request_is_an_invalid_argument(client: Any, change: Any, words: str) -> None:
    with refused("INVALID_ARGUMENT", words):
        raise_for(client, bad(change))


def test_bytes_that_are_no_message_are_an_invalid_argument(served: ProtocolPlane) -> None:
    with grpc.insecure_channel(served.address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff", metadata=[("authorization", "Bearer secret-a")], timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/other.Service/Method")(b"", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_health_for_probes_without_a_key(served: ProtocolPlane) -> None:
    with grpc.insecure_channel(served.address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=10) == b"\x08\x01"
        assert check(b"\x0a\x1einference.GRPCInferenceService", timeout=10) == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x05other", timeout=10)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_message_over_the_endpoints_limit_is_refused_and_a_large_one_is_taken(client: Any) -> None:
    limit = 1 << 20
    count = limit // 16 - 64
    answer = client.infer("digits", rows(count), headers=VARIANT_B)
    assert answer.as_numpy("logits").shape == (count, 3)
    with refused("RESOURCE_EXHAUSTED", "the body may have 1048576 bytes"):
        client.infer("digits", rows(5 * limit // 16), headers=KEY)
    with refused("RESOURCE_EXHAUSTED"):
        client.infer("digits", rows(66 * limit // 16), headers=KEY)


def test_a_stream_answers_in_order_and_outlives_a_bad_request(client: Any) -> None:
    answers: list[tuple[Any, Any]] = []
    client.start_stream(lambda result, error: answers.append((result, error)), headers=VARIANT_B)
    for number in range(50):
        name = "digits" if number != 20 else "nothing"
        client.async_stream_infer(name, rows(1, float(number)), request_id=str(number))
    until(lambda: len(answers) == 50, 10)
    client.stop_stream()
    for number, (result, error) in enumerate(answers):
        if number == 20:
            assert "there is no endpoint 'nothing'" in str(error)
        else:
            assert error is None
            assert result.get_response().id == str(number)
            assert result.as_numpy("logits").tolist() == [[8.0 * number] * 3]


def test_every_answered_call_is_metered_once(served: ProtocolPlane, client: Any) -> None:
    def counted() -> tuple[int, int, int]:
        lines = usage(served.folder / "r")
        return sum(one.calls for one in lines), sum(one.items for one in lines), sum(one.errors for one in lines)

    until(lambda: counted() == counted(), 2)
    before = counted()
    for _ in range(40):
        client.infer("digits", rows(2), headers=KEY)
    with refused("INVALID_ARGUMENT"):
        raise_for(client, bad(shaped(1, 5)))
    until(lambda: counted()[2] > before[2], 5)
    after = counted()
    assert [new - old for new, old in zip(after, before, strict=True)] == [40, 80, 1]


def test_many_calls_at_once_are_each_answered(client: Any) -> None:
    import queue

    done: queue.Queue[Any] = queue.Queue()
    for number in range(200):
        client.async_infer(
            "digits",
            rows(1, float(number)),
            lambda result, error: done.put((result, error)),
            headers=VARIANT_B,
            request_id=str(number),
        )
    for _ in range(200):
        result, error = done.get(timeout=10)
        assert error is None
        assert result.as_numpy("logits").tolist() == [[8.0 * int(result.get_response().id)] * 3]


def test_a_deadline_that_passes_is_the_clients_error(client: Any) -> None:
    with refused("DEADLINE_EXCEEDED"):
        client.infer("digits", rows(60_000), headers=KEY, client_timeout=0.001)
    assert client.infer("digits", rows(1), headers=VARIANT_B).as_numpy("logits").tolist() == [[8.0] * 3]
