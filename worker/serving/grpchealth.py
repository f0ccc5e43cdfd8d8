"""Messages of `grpc.health.v1.Health/Check`, built from their descriptor: two of them need no package of their own.

Source: the gRPC health checking protocol, `grpc/health/v1/health.proto`. `Watch` is not offered; its clients then poll.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HEALTH_CHECK = "/grpc.health.v1.Health/Check"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc/health/v1/health.proto", package="grpc.health.v1", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=field.TYPE_ENUM,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
        label=field.LABEL_OPTIONAL,
    )
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())  # a pool of our own: another package may bring the same names
HealthCheckRequest = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest")
)
HealthCheckResponse = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse")
)
