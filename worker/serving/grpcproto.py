"""The messages of `inference.GRPCInferenceService` and `grpc.health.v1.Health`, as data.

They live in a descriptor pool of their own, so that another package with the same protobuf symbols (tritonclient) may
be in the same process, and the gateway needs no package but grpcio and protobuf (decision 20).

Sources: Open Inference Protocol v2 (`grpc_service.proto`, with Triton's ModelStreamInfer and RepositoryIndex); the gRPC
health checking protocol (`health.proto`; `Watch` is not offered: its clients then poll).
"""

from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

PARAMETERS: Final = "map<InferParameter>"
Fields = dict[str, tuple[int, str]]
"""Field name → its number and type: a scalar's name, a message's, `repeated …`, or a map from string."""

_TENSOR_METADATA: Final[Fields] = {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "repeated int64")}
_INFERENCE: Final[dict[str, Fields]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "repeated string")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse.TensorMetadata": _TENSOR_METADATA,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
    },
    "InferParameter": {
        "bool_param": (1, "one bool"),
        "int64_param": (2, "one int64"),
        "string_param": (3, "one string"),
        "double_param": (4, "one double"),
        "uint64_param": (5, "one uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest.InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, PARAMETERS)},
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, PARAMETERS),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "repeated int64"),
        "parameters": (4, PARAMETERS),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, PARAMETERS),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
    "ModelStreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "ModelInferResponse")},
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "RepositoryIndexResponse.ModelIndex": {
        "name": (1, "string"),
        "version": (2, "string"),
        "state": (3, "string"),
        "reason": (4, "string"),
    },
    "RepositoryIndexResponse": {"models": (1, "repeated RepositoryIndexResponse.ModelIndex")},
}
_HEALTH: Final[dict[str, Fields]] = {
    "HealthCheckRequest": {"service": (1, "string")},
    # An enum on the wire is an int32: UNKNOWN 0, SERVING 1, NOT_SERVING 2.
    "HealthCheckResponse": {"status": (1, "int32")},
}


def _file(name: str, package: str, messages: dict[str, Fields]) -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package=package, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for path in sorted(messages, key=lambda each: each.count(".")):
        outer, _, inner = path.rpartition(".")
        made[path] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        for field, (number, kind) in messages[path].items():
            _add_field(made[path], f".{package}", path, field, number, kind)
    return file


def _add_field(message: DescriptorProto, package: str, path: str, name: str, number: int, kind: str) -> None:
    many, one = kind.startswith(("repeated ", "map<")), kind.startswith("one ")
    field = message.field.add(
        name=name,
        number=number,
        label=FieldDescriptorProto.LABEL_REPEATED if many else FieldDescriptorProto.LABEL_OPTIONAL,
    )
    if one:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    plain = kind.removeprefix("repeated ").removeprefix("one ")
    if plain.startswith("map<"):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, package, path, "key", 1, "string")
        _add_field(entry, package, path, "value", 2, plain[4:-1])
        plain = f"{path}.{entry.name}"
    if plain[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f"{package}.{plain}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{plain.upper()}")


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file("open_inference.proto", "inference", _INFERENCE))
_pool.Add(_file("health.proto", "grpc.health.v1", _HEALTH))


def _class(name: str) -> Any:  # noqa: ANN401  made at run time, so it has no static type
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


ServerLiveRequest = _class("inference.ServerLiveRequest")
ServerLiveResponse = _class("inference.ServerLiveResponse")
ServerReadyRequest = _class("inference.ServerReadyRequest")
ServerReadyResponse = _class("inference.ServerReadyResponse")
ServerMetadataRequest = _class("inference.ServerMetadataRequest")
ServerMetadataResponse = _class("inference.ServerMetadataResponse")
ModelReadyRequest = _class("inference.ModelReadyRequest")
ModelReadyResponse = _class("inference.ModelReadyResponse")
ModelMetadataRequest = _class("inference.ModelMetadataRequest")
ModelMetadataResponse = _class("inference.ModelMetadataResponse")
ModelInferRequest = _class("inference.ModelInferRequest")
ModelInferResponse = _class("inference.ModelInferResponse")
ModelStreamInferResponse = _class("inference.ModelStreamInferResponse")
RepositoryIndexRequest = _class("inference.RepositoryIndexRequest")
RepositoryIndexResponse = _class("inference.RepositoryIndexResponse")
HealthCheckRequest = _class("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = _class("grpc.health.v1.HealthCheckResponse")
