"""Messages of `inference.GRPCInferenceService` ↔ the replica's requests and answers, tensors never looked into.

A ModelInferRequest becomes JSON and binary tensors. Raw contents are those bytes already; typed contents are packed
here, each element checked for the range of its datatype, in C. Answers are always raw contents.

Source: Open Inference Protocol v2, `grpc_service.proto`.
"""

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from worker.serving import grpcproto as pb
from worker.serving.errors import RequestError
from worker.serving.grpcpool import Answer, ReplicaGone

TYPED: dict[str, tuple[str, str]] = {
    # datatype: the field of its typed contents, array.array's type code
    "BOOL": ("bool_contents", "B"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
    "BYTES": ("bytes_contents", ""),
}
RAW_ONLY = frozenset({"FP16", "BF16"})
OURS = frozenset({"binary_data_size", "binary_data_output", "binary_data"})
LENGTH_BYTES = 4
TENSORS = 1024
PIECE = 65_536


def infer_body(request: Any) -> tuple[bytes, list[bytes]]:  # noqa: ANN401  generated classes have no types
    """ModelInferRequest → the JSON of a request and its binary tensors; raises RequestError 400."""
    if max(len(request.inputs), len(request.outputs), len(request.parameters)) > TENSORS:
        raise RequestError(400, f"a request may have {TENSORS} inputs, outputs and parameters")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(400, f"there are {len(request.inputs)} inputs and {len(raw)} raw_input_contents")
    inputs: list[dict[str, object]] = []
    data: list[bytes] = []
    for index, tensor in enumerate(request.inputs):
        found = _raw(tensor, raw[index]) if raw else _packed(tensor)
        data.append(found)
        parameters = _parameters(tensor.parameters, f"input {tensor.name!r}") if tensor.parameters else {}
        inputs.append(
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "datatype": tensor.datatype,
                "parameters": {**parameters, "binary_data_size": len(found)},
            }
        )
    content: dict[str, object] = {
        "inputs": inputs,
        "parameters": {**_parameters(request.parameters, "the request"), "binary_data_output": True},
    }
    if request.id:
        content["id"] = request.id
    if request.outputs:
        content["outputs"] = [
            {"name": output.name, "parameters": _parameters(output.parameters, f"output {output.name!r}")}
            for output in request.outputs
        ]
    return orjson.dumps(content), data


def _raw(tensor: Any, data: bytes) -> bytes:  # noqa: ANN401  as above
    if tensor.HasField("contents") and tensor.contents.ListFields():
        raise RequestError(400, f"input {tensor.name!r} has both contents and raw_input_contents")
    return data


def _packed(tensor: Any) -> bytes:  # noqa: ANN401  as above
    """Typed contents as binary data."""
    if tensor.datatype in RAW_ONLY:
        raise RequestError(400, f"input {tensor.name!r}: {tensor.datatype} has to be in raw_input_contents")
    if tensor.datatype not in TYPED:
        raise RequestError(400, f"input {tensor.name!r} has the unknown datatype {tensor.datatype!r}")
    field, code = TYPED[tensor.datatype]
    for given, _ in tensor.contents.ListFields():
        if given.name != field:
            raise RequestError(400, f"input {tensor.name!r}: {tensor.datatype} belongs in {field}, not in {given.name}")
    values = getattr(tensor.contents, field)
    if not code:
        return b"".join([len(value).to_bytes(LENGTH_BYTES, "little") + value for value in values])
    try:
        found = array(code)
        for at in range(0, len(values), PIECE):  # in pieces, between which another thread has its turn
            found.extend(array(code, values[at : at + PIECE]))
        return found.tobytes()
    except OverflowError as error:
        raise RequestError(400, f"input {tensor.name!r} ({tensor.datatype}): {error}") from None


def _parameters(parameters: Mapping[str, Any], what: str) -> dict[str, object]:
    if len(parameters) > TENSORS:
        raise RequestError(400, f"{what} may have {TENSORS} parameters")
    found: dict[str, object] = {}
    for name, value in parameters.items():
        if name.startswith("shared_memory"):
            raise RequestError(400, f"{what}: shared memory is not supported; send the tensor")
        choice = value.WhichOneof("parameter_choice")
        if choice is not None and name not in OURS:
            found[name] = getattr(value, choice)
    return found


def infer_response(answer: Answer) -> Any:  # noqa: ANN401  as above
    """A replica's answer to an inference → ModelInferResponse; raises ReplicaGone for what is none."""
    body, length = answer.body, answer.head.json_bytes
    text = body if length is None else body[:length]
    try:
        content = orjson.loads(text)
        response = pb.ModelInferResponse(
            model_name=content["model_name"], model_version=content["model_version"], id=content.get("id", "")
        )
        put_parameters(response.parameters, content.get("parameters", {}))
        at = len(text)
        for output in content["outputs"]:
            parameters = output.get("parameters", {})
            size = _size(parameters["binary_data_size"], len(body) - at)
            tensor = response.outputs.add(name=output["name"], datatype=output["datatype"])
            tensor.shape.extend(output["shape"])
            put_parameters(tensor.parameters, parameters)
            response.raw_output_contents.append(body[at : at + size])
            at += size
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReplicaGone(f"the replica's answer cannot be understood: {error!r}") from None
    return response


def _size(said: object, left: int) -> int:
    """A replica's `binary_data_size`; raises ValueError where so much is not there."""
    if type(said) is not int or not 0 <= said <= left:
        raise ValueError("binary_data_size does not fit the answer")
    return said


def put_parameters(target: Any, parameters: Mapping[str, object]) -> None:  # noqa: ANN401  as above
    """JSON parameters into a map of InferParameter; those of the binary extension stay behind."""
    for name, value in parameters.items():
        if name in OURS:
            continue
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        else:
            target[name].string_param = str(value)


def metadata_response(content: Mapping[str, Any]) -> Any:  # noqa: ANN401  as above
    """Model metadata of the REST form → ModelMetadataResponse."""
    return pb.ModelMetadataResponse(
        name=content["name"],
        versions=content["versions"],
        platform=content["platform"],
        inputs=_tensors(content["inputs"]),
        outputs=_tensors(content["outputs"]),
    )


def _tensors(declared: Iterable[Mapping[str, Any]]) -> list[Any]:
    kind = pb.ModelMetadataResponse.TensorMetadata
    return [kind(name=one["name"], datatype=one["datatype"], shape=one["shape"]) for one in declared]
