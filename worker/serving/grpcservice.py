"""`inference.GRPCInferenceService` as it is answered: who calls, which endpoint, and which error it is.

Requests are judged by their metadata before a byte of their message is read: without a valid key, or for a method
that does not exist, nothing of it is buffered. Errors carry the sentence that the REST form would give.
"""

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import grpc
import orjson
from google.protobuf.message import DecodeError

from backend.core.wire import Route, RouteKey
from worker.serving import grpcproto as pb
from worker.serving.description import SERVER_NAME, SERVER_VERSION
from worker.serving.errors import RelayedError, RequestError
from worker.serving.grpcmessages import infer_body, infer_response, metadata_response
from worker.serving.grpcpool import Answer, Pool, ReplicaGone
from worker.serving.log import log
from worker.serving.table import RoutingTable

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
SERVICE = "/inference.GRPCInferenceService/"
CALL_SECONDS = 120.0
STREAM_AHEAD = 16
"""Calls of one stream that are under way at once; their answers leave in order."""
FORWARDED = {
    "x-modelyard-target-variant": b"x-modelyard-target-variant",
    "x-amzn-sagemaker-target-variant": b"x-modelyard-target-variant",
    "x-modelyard-sticky-key": b"x-modelyard-sticky-key",
}
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
OK = 200
HEAVY_BYTES = 256 * 1024
VERSION_CHARACTERS = 200

Context = Any
"""grpc.aio.ServicerContext, which has no types."""


class Caller:
    """Who calls: the key, the token as it came, and the headers that go on to the replica."""

    __slots__ = ("headers", "key")

    def __init__(self, key: RouteKey, headers: bytes) -> None:
        self.key = key
        self.headers = headers


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Every method of the port. `table` is replaced with each snapshot; `draining` ends readiness."""

    def __init__(self, pool: Pool, table: RoutingTable) -> None:
        self._pool = pool
        self.table = table
        self.draining = False
        self._public: dict[str, Any] = {
            HEALTH_CHECK: _unary(self._health, pb.HealthCheckRequest),
            SERVICE + "ServerLive": _unary(self._live, pb.ServerLiveRequest),
            SERVICE + "ServerReady": _unary(self._ready, pb.ServerReadyRequest),
            SERVICE + "ServerMetadata": _unary(self._metadata, pb.ServerMetadataRequest),
        }
        self._keyed: dict[str, Callable[[Caller], Any]] = {
            SERVICE + "ModelInfer": lambda caller: _unary(functools.partial(self._infer, caller), pb.ModelInferRequest),
            SERVICE + "ModelReady": lambda caller: _unary(
                functools.partial(self._model_ready, caller), pb.ModelReadyRequest
            ),
            SERVICE + "ModelMetadata": lambda caller: _unary(
                functools.partial(self._model_metadata, caller), pb.ModelMetadataRequest
            ),
            SERVICE + "RepositoryIndex": lambda caller: _unary(
                functools.partial(self._index, caller), pb.RepositoryIndexRequest
            ),
            SERVICE + "ModelStreamInfer": lambda caller: grpc.stream_stream_rpc_method_handler(
                functools.partial(self._stream, caller)
            ),
        }

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401  grpc has no types
        """The handler of a call, chosen before its message is read (grpc.GenericRpcHandler)."""
        method = handler_call_details.method
        public = self._public.get(method)
        if public is not None:
            return public
        keyed = self._keyed.get(method)
        if keyed is None:
            if not method.startswith(SERVICE):
                return None
            return _refusing(RequestError(501, f"{method.removeprefix(SERVICE)} is not offered here"))
        try:
            return keyed(self._caller(handler_call_details.invocation_metadata or ()))
        except RequestError as refusal:
            return _refusing(refusal)

    def _caller(self, metadata: Any) -> Caller:  # noqa: ANN401  as above
        token, headers = "", b""
        for name, value in metadata:
            if name == "authorization" and isinstance(value, str):
                scheme, _, given = value.strip().partition(" ")
                token = given.strip() if scheme.lower() == "bearer" else ""
            elif name in FORWARDED:
                headers += b"%b: %b\r\n" % (FORWARDED[name], _header_value(name, value))
        if not token:
            raise RequestError(401, "a bearer key is needed in the metadata: authorization: Bearer …")
        found = self.table.key(hashlib.sha256(token.encode()).hexdigest())
        if found is None:
            raise RequestError(401, "a valid bearer key is needed")
        return Caller(found, b"host: replica\r\nauthorization: Bearer %b\r\n%b" % (token.encode(), headers))

    # --- what needs no key -------------------------------------------------------------------------

    async def _live(self, _request: object, _context: Context) -> Any:  # noqa: ANN401  generated classes have no types
        return pb.ServerLiveResponse(live=True)

    @property
    def is_ready(self) -> bool:
        """Whether calls are taken: a routing table is known and the process does not drain."""
        return self.table.version >= 0 and not self.draining

    async def _ready(self, _request: object, _context: Context) -> Any:  # noqa: ANN401  as above
        return pb.ServerReadyResponse(ready=self.is_ready)

    async def _health(self, request: Any, _context: Context) -> Any:  # noqa: ANN401  as above
        """grpc.health.v1: of the whole server ("") and of the inference service."""
        if request.service not in {"", SERVICE.strip("/")}:
            raise RequestError(404, f"there is no service {request.service[:100]!r}")
        serving, not_serving = 1, 2
        return pb.HealthCheckResponse(status=serving if self.is_ready else not_serving)

    async def _metadata(self, _request: object, _context: Context) -> Any:  # noqa: ANN401  as above
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION, extensions=[])

    # --- models --------------------------------------------------------------------------------------

    def _route(self, caller: Caller, name: str) -> Route:
        route = self.table.routes.get((caller.key.organization_id, name))
        if route is None:
            raise RequestError(404, f"there is no endpoint {name[:100]!r}")
        return route

    async def _infer(self, caller: Caller, request: Any, context: Context) -> Any:  # noqa: ANN401  as above
        answer = await self._infer_once(caller, request)
        if answer.head.variant:
            context.set_trailing_metadata((("x-modelyard-variant", answer.head.variant),))
        return infer_response(answer)

    async def _infer_once(self, caller: Caller, request: Any) -> Answer:  # noqa: ANN401  as above
        route = self._route(caller, request.model_name)
        if request.ByteSize() > route.max_body_bytes + HEAVY_BYTES:
            raise RequestError(413, f"the body may have {route.max_body_bytes} bytes")
        if request.ByteSize() > HEAVY_BYTES:
            text, data = await asyncio.to_thread(infer_body, request)
        else:
            text, data = infer_body(request)
        length = len(text) + sum(map(len, data))
        if length > route.max_body_bytes:
            raise RequestError(413, f"the body may have {route.max_body_bytes} bytes")
        head = b"POST %b/infer HTTP/1.1\r\n%binference-header-content-length: %d\r\ncontent-length: %d\r\n\r\n" % (
            _path(request.model_name, request.model_version),
            caller.headers,
            len(text),
            length,
        )
        return await self._ask(route, head, [text, *data])

    async def _ask(self, route: Route, head: bytes, body: list[bytes]) -> Answer:
        """A good answer of a replica; raises RequestError for any other."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._pool.ask(route, head, body)
        except TimeoutError:
            raise RequestError(408, f"there was no answer in {CALL_SECONDS:.0f} s") from None
        if answer.head.status != OK:
            retry = answer.head.retry_after
            raise RelayedError(answer.head.status, _sentence(answer.body), (("retry-after", retry),) if retry else ())
        return answer

    async def _get(self, caller: Caller, name: str, version: str, verb: bytes) -> dict[str, Any]:
        route = self._route(caller, name)
        head = b"GET %b%b HTTP/1.1\r\n%b\r\n" % (_path(name, version), verb, caller.headers)
        answer = await self._ask(route, head, [])
        try:
            found: dict[str, Any] = orjson.loads(answer.body)
        except orjson.JSONDecodeError as error:
            raise ReplicaGone(f"the replica's answer cannot be understood: {error}") from None
        return found

    async def _model_ready(self, caller: Caller, request: Any, _context: Context) -> Any:  # noqa: ANN401  as above
        route = self._route(caller, request.name)
        if not self._pool.links.usable(route):
            return pb.ModelReadyResponse(ready=False)
        found = await self._get(caller, request.name, request.version, b"/ready")
        return pb.ModelReadyResponse(ready=found.get("ready") is True)

    async def _model_metadata(self, caller: Caller, request: Any, _context: Context) -> Any:  # noqa: ANN401  as above
        try:
            return metadata_response(await self._get(caller, request.name, request.version, b""))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReplicaGone(f"the replica's answer cannot be understood: {error!r}") from None

    async def _index(self, caller: Caller, request: Any, _context: Context) -> Any:  # noqa: ANN401  as above
        """The endpoints of the key's organization, one entry for each version that takes traffic."""
        entries = []
        for (organization_id, name), route in self.table.routes.items():
            if organization_id != caller.key.organization_id:
                continue
            ready = bool(self._pool.links.usable(route))
            if ready or not request.ready:
                state = "READY" if ready else "UNAVAILABLE"
                versions = dict.fromkeys(one.model_version_id for one in route.variants)
                entries += [
                    pb.RepositoryIndexResponse.ModelIndex(name=name, version=version, state=state)
                    for version in versions
                ]
        return pb.RepositoryIndexResponse(models=entries)

    async def _stream(self, caller: Caller, requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
        """ModelStreamInfer: an answer for each request, in order; a refused one says why and the stream goes on."""
        under_way: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(STREAM_AHEAD)

        async def read() -> None:
            try:
                async for raw in requests:
                    await under_way.put(asyncio.create_task(self._stream_once(caller, raw)))
            finally:
                await under_way.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await under_way.get()) is not None:
                yield await task
            await reader
        finally:
            while not (reader.done() and under_way.empty()):
                reader.cancel()
                while not under_way.empty():
                    left = under_way.get_nowait()
                    if left is not None:
                        left.cancel()
                await asyncio.wait([reader], timeout=0)

    def _check(self, caller: Caller) -> None:
        """A stream may outlive its key."""
        if self.table.key(caller.key.token_sha256) is None:
            raise RequestError(401, "this key is not valid any more")

    async def _stream_once(self, caller: Caller, raw: bytes) -> bytes:
        request = pb.ModelInferRequest()
        try:
            _parse(request, raw)
            self._check(caller)
            found = pb.ModelStreamInferResponse(infer_response=infer_response(await self._infer_once(caller, request)))
        except RequestError as refusal:
            failed = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
            found = pb.ModelStreamInferResponse(error_message=refusal.message, infer_response=failed)
        data: bytes = found.SerializeToString()
        return data


def _path(name: str, version: str) -> bytes:
    path = f"/v2/models/{quote(name, safe='')}"
    if len(version) > VERSION_CHARACTERS:
        raise RequestError(404, f"there is no version {version[:VERSION_CHARACTERS]!r}")
    if version:
        path += f"/versions/{quote(version, safe='')}"
    return path.encode()


def _header_value(name: str, value: object) -> bytes:
    """A metadata value as a header's: printable ASCII, which gRPC demands and nothing here takes on trust."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise RequestError(400, f"{name} must be printable ASCII")
    return value.encode()


def _sentence(body: bytes) -> str:
    """The sentence of an error of the REST form."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    sentence = found.get("error") if isinstance(found, dict) else None
    return sentence if isinstance(sentence, str) else "the replica refused this call"


def _unary(answer: Callable[[Any, Context], Awaitable[Any]], request: Any) -> Any:  # noqa: ANN401  as above
    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            message = request()
            _parse(message, raw)
            found = await answer(message, context)
            data: bytes = found.SerializeToString()
        except RequestError as refusal:
            await _refuse(refusal, context)
            raise  # abort has ended the call
        return data

    return grpc.unary_unary_rpc_method_handler(handle)


def _parse(message: Any, raw: bytes) -> None:  # noqa: ANN401  as above
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise RequestError(400, f"the message cannot be read: {error}") from None


def _refusing(refusal: RequestError) -> Any:  # noqa: ANN401  as above
    """A handler that refuses without reading a message."""
    return grpc.stream_stream_rpc_method_handler(functools.partial(_refuse_call, refusal))


async def _refuse_call(refusal: RequestError, _requests: object, context: Context) -> None:
    await _refuse(refusal, context)


async def _refuse(refusal: RequestError, context: Context) -> None:
    code = CODES.get(refusal.status, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        log("a replica failed on a call", status=refusal.status, error=refusal.message)
    await context.abort(code, refusal.message, refusal.headers)
