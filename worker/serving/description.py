"""What the server says of itself, over HTTP and gRPC."""

SERVER_NAME = "modelyard"
SERVER_VERSION = "0.1.0"
HTTP_EXTENSIONS = ["binary_tensor_data"]


def server_metadata() -> dict[str, object]:
    """The server metadata of the protocol's REST form."""
    return {"name": SERVER_NAME, "version": SERVER_VERSION, "extensions": HTTP_EXTENSIONS}
