"""SageMaker Runtime's InvokeEndpoint: its bodies, its errors, and its own SDK."""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import botocore
import botocore.config
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.serving import models
from tests.serving.plane import Client, GatewayProcess, Replica, RouteServer, key, route, until, usage

pytestmark = pytest.mark.integration

LIGHT_LEFT = np.array([[255, 255, 0, 0]] * 4, np.uint8)
ROWS = [[1, 2, 3, 4], [0, 0, 0, 1]]
JSON = "application/json"


def picture_bytes(pixels: Any, form: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, form, **options)
    return written.getvalue()


def npy(found: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, found, allow_pickle=True)
    return written.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("invocations")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """A gateway before: `digits` (FP32 [n, 4] → 3), `halves` and `colours` (pictures of 4 x 4), `types` (13 inputs)."""
    variants = {
        "digits": [models.linear_variant(folder / "digits", "a", 1.0)],
        "halves": [models.graph_variant(folder / "halves", "a", models.halves, classes=["left", "right"])],
        "colours": [models.graph_variant(folder / "colours", "a", partial(models.halves, channels=3))],
        "total": [models.graph_variant(folder / "total", "a", models.total)],
        "types": [models.graph_variant(folder / "types", "a", models.every_type)],
    }
    served, replicas, routes = RouteServer(), [], []
    for name, made in variants.items():
        spec = models.replica_spec(made, endpoint=name)
        models.replica_folder(folder / name, spec)
        replicas.append(Replica(folder / name, spec))
        routes.append(route(spec, folder / name, {"a": 1.0}))
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


Invoke = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def invoke(port: int) -> Iterator[Invoke]:
    """POST a body: (status, headers, body)."""
    with Client(port) as client:

        def ask(body: bytes, kind: str, endpoint: str = "digits", **headers: str) -> tuple[int, dict[str, str], bytes]:
            given = {"Content_Type": kind, **headers}
            status, answered, answer = client.ask("POST", f"/endpoints/{endpoint}/invocations", body, **given)
            return status, {name.lower(): value for name, value in answered.items()}, answer

        yield ask


@pytest.mark.parametrize(
    ("kind", "body", "answered"),
    [
        (JSON, json.dumps({"instances": ROWS}).encode(), b'{"predictions":[[10.0,10.0,10.0],[1.0,1.0,1.0]]}'),
        ("", json.dumps(ROWS).encode(), b'{"predictions":[[10.0,10.0,10.0],[1.0,1.0,1.0]]}'),
        (JSON, json.dumps([{"input": row} for row in ROWS[1:]]).encode(), b'{"predictions":[[1.0,1.0,1.0]]}'),
        ("text/csv; charset=utf-8", b"\xef\xbb\xbf1,2, 3,4\r\n\r\n0,0,0,1e0\n", b"10.0,10.0,10.0\n1.0,1.0,1.0\n"),
        (
            "application/jsonlines",
            b"[1,2,3,4]\n\n[0,0,0,1]\n",
            b'{"logits":[10.0,10.0,10.0]}\n{"logits":[1.0,1.0,1.0]}\n',
        ),
        ("application/x-npy", npy(np.asfortranarray(ROWS, np.float32)), npy(np.full((2, 3), [[10], [1]], np.float32))),
    ],
)  # fmt: skip
def test_rows_are_answered_in_their_own_form(invoke: Invoke, kind: str, body: bytes, answered: bytes) -> None:
    status, headers, answer = invoke(body, kind)
    assert (status, answer) == (200, answered)
    assert headers["content-type"] == (kind.partition(";")[0] or JSON)
    assert headers["x-amzn-invoked-production-variant"] == "a"


@pytest.mark.parametrize(
    ("accept", "given", "answered"),
    [
        ("text/csv", "text/csv", b"10.0,10.0,10.0\n"),
        ("image/png, application/jsonl;q=0.5", "application/jsonlines", b'{"logits":[10.0,10.0,10.0]}\n'),
        ("*/*", JSON, b'{"predictions":[[10.0,10.0,10.0]]}'),
    ],
)
def test_another_form_is_given_where_it_is_asked_for(invoke: Invoke, accept: str, given: str, answered: bytes) -> None:
    status, headers, answer = invoke(b"[[1, 2, 3, 4]]", JSON, Accept=accept)
    assert (status, headers["content-type"], answer) == (200, given, answered)


def test_the_open_inference_protocol_is_spoken_here_too(invoke: Invoke) -> None:
    one = {"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [one]}).encode()
    status, _, answer = invoke(body, JSON, X_Amzn_SageMaker_Inference_Id="order-7")
    assert status == 200
    assert json.loads(answer)["outputs"][0]["data"] == [10.0] * 3
    assert json.loads(answer)["id"] == "order-7"


@pytest.mark.parametrize("accept", [JSON, "text/csv", "application/jsonlines"])
def test_outputs_that_are_no_rows_need_the_protocol(invoke: Invoke, accept: str) -> None:
    status, _, answer = invoke(b"[[1, 2]]", JSON, "total", Accept=accept)
    assert (status, json.loads(answer)["OriginalStatusCode"]) == (424, 422)
    assert "cannot be written" in json.loads(answer)["Message"]
    one = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    status, _, answer = invoke(json.dumps({"inputs": [one]}).encode(), JSON, "total")
    assert (status, [output["data"] for output in json.loads(answer)["outputs"]]) == (200, [[1.0, 2.0], [3.0]])


def test_a_model_of_several_inputs_takes_instances_by_name(invoke: Invoke) -> None:
    floats = {"FLOAT16", "FLOAT", "DOUBLE"}
    whole = ["UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"]
    one: dict[str, list[Any]] = {f"in_{kind}": [1, 2] for kind in whole}
    one |= {f"in_{kind}": [0.5, 2] for kind in floats} | {"in_BOOL": [True, False], "in_STRING": ["é", ""]}
    status, _, answer = invoke(json.dumps({"instances": [one, one]}).encode(), JSON, "types")
    assert status == 200, answer
    predictions = json.loads(answer)["predictions"]
    assert predictions == [{name.replace("in_", "out_"): value for name, value in one.items()}] * 2


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(4, 4), (64, 64), (1000, 700)])
def test_a_picture_is_decoded_for_the_model(invoke: Invoke, form: str, size: tuple[int, int]) -> None:
    grown = np.asarray(Image.fromarray(LIGHT_LEFT).resize(size, Image.Resampling.NEAREST))
    for endpoint, most in (("halves", 8.0), ("colours", 24.0)):
        body = picture_bytes(grown, form)
        status, headers, answer = invoke(body, f"image/{form.lower()}", endpoint)
        assert (status, headers["content-type"]) == (200, JSON), answer
        left, right = json.loads(answer)["predictions"][0]
        assert left == pytest.approx(most, rel=0.1)
        assert right < most / 10


def test_a_heavy_picture_is_read_aside_and_a_broken_one_is_refused(invoke: Invoke, folder: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    body = picture_bytes(noise)
    assert len(body) > 400_000
    before = sum(line.errors for line in usage(folder / "colours"))
    assert invoke(body, "image/png", "colours")[0] == 200
    status, headers, answer = invoke(body[: len(body) // 2], "image/png", "colours")
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
    assert "no PNG or JPEG picture" in json.loads(answer)["OriginalMessage"]
    until(lambda: sum(line.errors for line in usage(folder / "colours")) == before + 1, 5)


def test_labels_are_given_when_asked(invoke: Invoke) -> None:
    asked = {"X_Amzn_SageMaker_Custom_Attributes": "trace=7, labels=true"}
    status, _, answer = invoke(picture_bytes(LIGHT_LEFT), "image/png", "halves", **asked)
    assert status == 200
    (prediction,) = json.loads(answer)["predictions"]
    assert prediction == {"predicted_label": "left", "score": pytest.approx(1 / (1 + np.exp(-8)))}
    status, _, answer = invoke(picture_bytes(LIGHT_LEFT), "image/png", "halves", Accept="text/csv", **asked)
    assert answer.startswith(b"left,0.99")
    status, _, answer = invoke(b"[[1,2,3,4]]", JSON, **asked)
    assert (status, json.loads(answer)["OriginalStatusCode"]) == (424, 400)


@pytest.mark.parametrize(
    ("kind", "body", "endpoint", "original", "said"),
    [
        ("text/html", b"<p>", "digits", 415, "content type"),
        ("image/png", b"\x89PNG\r\n\x1a\n", "halves", 400, "no PNG or JPEG"),
        ("image/png", picture_bytes(LIGHT_LEFT), "digits", 415, "takes no picture"),
        ("image/gif", picture_bytes(LIGHT_LEFT, "GIF"), "halves", 415, "content type"),
        ("image/png", picture_bytes(np.zeros((4_100, 4_100), np.uint8)), "halves", 400, "pixels"),
        ("text/csv", b"1,2,x,4", "digits", 400, "line 1"),
        ("text/csv", b"1,2,nan,4", "digits", 400, "range"),
        ("text/csv", b"\xff", "digits", 400, "CSV"),
        ("text/csv", b"", "digits", 400, "no line"),
        ("text/csv", b"1,2,3\n", "digits", 400, "elements in 1 rows"),
        ("text/csv", b"1,2,3,4", "types", 400, "by name"),
        ("application/jsonlines", b"[1,2,3,4]\n[1,", "digits", 400, "line 2"),
        (JSON, b'{"instances": []}', "digits", 400, "at least one row"),
        (JSON, b"[[1,2,3,4],[1,2]]", "digits", 400, "elements in 2 rows"),
        (JSON, b"[[1,2,3,true]]", "digits", 400, "FP32"),
        (JSON, b'[{"input": [1,2,3,4]}, 7]', "digits", 400, "instance 2"),
        (JSON, b'{"inputs": [{"name": "input"}]}', "digits", 400, "datatype"),
        ("application/x-npy", b"PK\x03\x04", "digits", 400, "numpy.save"),
        ("application/x-npy", npy(np.zeros((3, 4)))[:-1], "digits", 400, "numpy.save"),
        ("application/x-npy", npy(np.array([{"a": 1}])), "digits", 400, "numpy.save"),
        ("application/x-npy", npy(np.array([[1j] * 4])), "digits", 400, "does not fit"),
        ("application/x-npy", npy(np.array([[np.inf] * 4])), "digits", 400, "range"),
        ("application/x-npy", npy(np.float32(1)), "digits", 400, "does not fit"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_body_is_the_models_error(
    invoke: Invoke, kind: str, body: bytes, endpoint: str, original: int, said: str
) -> None:
    status, headers, answer = invoke(body, kind, endpoint)
    content = json.loads(answer)
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError"), content
    assert content["OriginalStatusCode"] == original
    assert said in content["OriginalMessage"]
    assert invoke(b"[[1,2,3,4]]", JSON)[0] == 200


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200) | st.text(alphabet='[]{},"0123456789.einputsac \n', max_size=80).map(str.encode),
    kind=st.sampled_from([JSON, "text/csv", "application/jsonlines", "application/x-npy", "image/png", "image/jpeg"]),
    endpoint=st.sampled_from(["digits", "halves", "types"]),
    accept=st.sampled_from(["", "text/csv", "application/x-npy", JSON]),
)
def test_no_body_is_answered_with_a_failure_of_ours(
    invoke: Invoke, body: bytes, kind: str, endpoint: str, accept: str
) -> None:
    status, _, answer = invoke(body, kind, endpoint, Accept=accept)
    assert status in {200, 424}, (status, answer)


def test_the_sdk_raises_its_own_errors(port: int) -> None:
    """boto3's client with a bearer key set on each request, in place of a signature."""
    quiet = botocore.config.Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1})
    address = f"http://127.0.0.1:{port}"
    client = boto3.client("sagemaker-runtime", "eu-west-1", endpoint_url=address, config=quiet)
    token = {"value": "secret-a"}
    client.meta.events.register(
        "before-sign.*", lambda request, **_: request.headers.add_header("Authorization", f"Bearer {token['value']}")
    )
    answer = client.invoke_endpoint(EndpointName="digits", Body=b"1,2,3,4", ContentType="text/csv", Accept="text/csv")
    assert answer["Body"].read() == b"10.0,10.0,10.0\n"
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("a", "text/csv")
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint(EndpointName="digits", Body=b"1,2", ContentType="text/csv")
    error: dict[str, Any] = {**caught.value.response}
    assert (error["Error"]["Code"], error["OriginalStatusCode"]) == ("ModelError", 400)
    assert "elements in 1 rows" in error["OriginalMessage"]
    expected = {
        "nobody": ("secret-a", "ValidationError", 400),
        "digits": ("no-key", "AccessDeniedException", 403),
    }
    for name, (given_token, code, status) in expected.items():
        token["value"] = given_token
        with pytest.raises(ClientError) as caught:
            client.invoke_endpoint(EndpointName=name, Body=b"[[1,2,3,4]]", ContentType=JSON)
        error = {**caught.value.response}
        assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
        assert error["Error"]["Message"]
    token["value"] = "secret-a"
    with pytest.raises(ClientError, match="unknown variant"):
        client.invoke_endpoint(EndpointName="digits", Body=b"[[1,2,3,4]]", ContentType=JSON, TargetVariant="c")
