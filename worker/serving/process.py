"""One process of a replica: judges requests, chooses the variant, hands calls to the lanes, drains."""

import asyncio
import gc
import os
import signal
import socket
import time
from pathlib import Path

import uvloop

from backend.core.wire import ReplicaRoute, ReplicaSpec, RouteKey, RouteVariant
from worker.serving import answers
from worker.serving.adoption import Adoption
from worker.serving.backpressure import Backpressure
from worker.serving.batching import Call, Lane, Outcome
from worker.serving.bodies import plain_body
from worker.serving.connection import Connection, Slot
from worker.serving.description import server_metadata
from worker.serving.errors import GiveBackError, RequestError
from worker.serving.head import Head, allowed, is_public, judge_method
from worker.serving.invocations import Reader, is_heavy, parse_invocation
from worker.serving.log import log
from worker.serving.metering import Meter
from worker.serving.model import Model
from worker.serving.tensors import Inference, parse_request
from worker.serving.usage import SYNC_SECONDS, UsageLog
from worker.serving.variants import Chooser

PROBE_VARIABLE = "MODELYARD_PROBE_TOKEN_SHA256"
UNROUTED_BODY_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 8.0


class ReplicaProcess:
    """What one process of a replica knows, and its answers (`connection.Server`)."""

    def __init__(self, spec: ReplicaSpec, folder: Path, number: int, models: dict[str, Model]) -> None:
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.heads: dict[bytes, Head] = {}
        self.draining = False
        self._models = models
        self._usage = UsageLog(folder / "usage", spec)
        self._meter = Meter(spec.endpoint_name, self._usage)
        self._backpressure = Backpressure()
        self._lanes = {name: Lane(loop, model, self._ran) for name, model in models.items()}
        self._reader = Reader(loop)
        self._probe_sha256 = os.environ.get(PROBE_VARIABLE, "")
        self._keys: dict[str, RouteKey] = {}
        self._body_limit = UNROUTED_BODY_BYTES
        self._route_version = -1
        equal = [RouteVariant(name=name, weight=1.0, model_version_id="") for name in models]
        self._chooser = Chooser(spec.endpoint_id, models, equal)
        self._adoption = Adoption(spec, number, self._new_connection, self._take_route)

    def _new_connection(self, read: bytes, from_gateway: bool, pooled: bool) -> Connection:  # noqa: FBT001  a Callable's
        return Connection(self, read, from_gateway=from_gateway, pooled=pooled)

    def _take_route(self, route: ReplicaRoute, from_pool: bool) -> None:  # noqa: FBT001  a Callable's
        """Take a route in. A pooling gateway may be behind: its older route must not bring a revoked key back.

        The gateway's own route is always the newest word: after a restore, versions count from an earlier one.
        """
        if route.endpoint_id != self.spec.endpoint_id:
            log("route of another endpoint refused", endpoint_id=route.endpoint_id)
            return
        if from_pool and route.version < self._route_version:
            return
        self._route_version = route.version
        self._keys = {key.token_sha256: key for key in route.keys}
        self._body_limit = route.max_body_bytes
        self._backpressure.queue_seconds = route.queue_seconds
        self._backpressure.key_calls = route.key_calls
        self._chooser = Chooser(self.spec.endpoint_id, self._models, route.variants)

    # --- what a connection asks (connection.Server) --------------------------------------------

    def body_limit(self) -> int:
        """Largest accepted body in bytes."""
        return self._body_limit

    def admit(self, head: Head, *, from_gateway: bool) -> str:
        """Judge a head before its body; answers the key id ("" = not metered)."""
        public = is_public(head)
        key_id = "" if public else self._key_id(head, from_gateway=from_gateway)
        if head.kind == "unknown":
            raise RequestError(404, "there is nothing at this address")
        if not public and head.endpoint != self.spec.endpoint_name:
            if from_gateway and self._adoption.has_gateway:
                raise GiveBackError(b"e", 404, "another endpoint")
            raise RequestError(404, f"there is no endpoint {head.endpoint!r}")
        judge_method(head)
        return key_id

    def _key_id(self, head: Head, *, from_gateway: bool) -> str:
        token = head.token_sha256
        if not token:
            raise RequestError(401, "a bearer key is needed", (("www-authenticate", "Bearer"),))
        key = self._keys.get(token)
        if key is not None and (key.expires_at is None or key.expires_at > time.time()):
            return key.key_id
        if token == self._probe_sha256:
            return ""
        if key is None and from_gateway and self._adoption.has_gateway:
            raise GiveBackError(b"k", 401, "unknown key")
        raise RequestError(401, "this key is not valid", (("www-authenticate", "Bearer"),))

    def handle(self, head: Head, key_id: str, body: bytes, slot: Slot) -> None:
        """Answer a whole request, now or with its batch."""
        variant = ""
        try:
            if head.method == "OPTIONS":
                keep = slot.line != answers.CLOSE
                slot.deliver(answers.options(allowed(head), keep_alive=keep, old_http=bool(slot.line)))
                return
            if head.kind in {"infer", "invocations"}:
                variant = self._chooser.choose(self._target(head), head.sticky_key)
                self._backpressure.judge(key_id, self._lanes[variant])
                plain = plain_body(body, head.encoding, self._body_limit)
                self._submit(head, key_id, plain, len(body), slot, variant)
                return
            content = self._describe(head)
        except RequestError as refusal:
            self._meter.refused(key_id, variant)
            slot.deliver(_error(refusal, head, slot, by_model=bool(variant)))
            return
        except Exception as error:  # noqa: BLE001  one bug must cost one answer, not the process
            log("request failed", endpoint=self.spec.endpoint_name, error=repr(error))
            self._meter.refused(key_id, variant)
            slot.deliver(_error(RequestError(500, "the replica failed on this request"), head, slot))
            return
        slot.deliver(answers.answer(200, content, keep_alive=slot.line != answers.CLOSE, old_http=bool(slot.line)))

    def _ran(self, outcome: Outcome) -> None:
        for call, _ in outcome.results:
            self._backpressure.ended(call.key_id)
        self._meter.answer(outcome)

    def _submit(self, head: Head, key_id: str, body: bytes, bytes_in: int, slot: Slot, variant: str) -> None:
        """Put a call into its variant's lane."""
        lane = self._lanes[variant]
        if head.kind != "invocations":
            inference = parse_request(body, head.tensor_header_bytes, lane.model)
            lane.submit(Call(inference, key_id, bytes_in, slot.line, slot.deliver, encoding=head.answer_encoding))
            self._backpressure.began(key_id)
            return

        def submit(inference: Inference) -> None:
            lane.submit(Call(inference, key_id, bytes_in, slot.line, slot.deliver, invocation=True))

        def refuse(refusal: RequestError) -> None:
            self._backpressure.ended(key_id)
            self._meter.refused(key_id, variant)
            slot.deliver(_error(refusal, head, slot, by_model=True))

        if is_heavy(body, head):
            self._backpressure.began(key_id)
            self._reader.read(body, head, lane.model, submit, refuse)
        else:
            submit(parse_invocation(body, head, lane.model))
            self._backpressure.began(key_id)

    def _target(self, head: Head) -> str | None:
        if head.target_variant is not None or not head.version:
            return head.target_variant
        for name, model in self._models.items():
            if head.version in {name, model.version_id}:
                return name
        raise RequestError(404, f"there is no version {head.version!r}")

    def _describe(self, head: Head) -> dict[str, object]:
        if head.kind == "live":
            return {"live": True}
        if head.kind == "ready":
            return {"ready": not self.draining}
        if head.kind == "server":
            return server_metadata()
        target = self._target(head)
        if target is not None and target not in self._models:
            raise RequestError(400, f"unknown variant {target!r}; there are {sorted(self._models)}")
        if head.kind == "model_ready":
            return {"name": self.spec.endpoint_name, "ready": True}
        model = self._models[target] if target is not None else next(iter(self._models.values()))
        versions = [each.version_id for each in self._models.values()]
        return {**model.describe(self.spec.endpoint_name), "versions": versions}

    def refused(self, head: Head, key_id: str) -> None:
        """A request was refused between its head and its end."""
        if head.kind in {"infer", "invocations"}:
            self._meter.refused(key_id, "")

    def give_back(self, passed: socket.socket, reason: bytes, unread: bytes) -> None:
        """Pass a connection back to the gateway."""
        self._adoption.give_back(passed, reason, unread)

    def ended(self, connection: Connection) -> None:
        """A connection is no more."""
        self._adoption.ended(connection)

    # --- life ------------------------------------------------------------------------------------

    async def serve(self, parent: int) -> None:
        """Serve until SIGTERM, or until `parent` (a pipe that nobody writes to) is closed by its death."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(parent, stop.set)
        self._adoption.listen()
        log("replica process ready", replica_id=self.spec.replica_id, pid=os.getpid())
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), SYNC_SECONDS)
            except TimeoutError:
                self._adoption.tick(time.monotonic())
                self._meter.flush_errors()
                self._usage.tick()
        loop.remove_reader(parent)
        self.draining = True
        await self._adoption.drain(DRAIN_SECONDS)
        self._meter.flush_errors()
        self._usage.close()
        log("replica process drained", replica_id=self.spec.replica_id, pid=os.getpid())


def _error(refusal: RequestError, head: Head, slot: Slot, *, by_model: bool = False) -> bytes:
    return answers.refusal(
        refusal,
        invocation=head.kind == "invocations",
        keep_alive=slot.line != answers.CLOSE,
        old_http=bool(slot.line),
        by_model=by_model,
    )


def load_models(spec: ReplicaSpec, folder: Path) -> dict[str, Model]:
    """Every variant of the replica, by name; raises ReplicaError."""
    threads = max(1, int(spec.cpu_count) // max(1, spec.processes))
    root = folder / "models"
    return {
        variant.name: Model.load(root / variant.name, variant.name, variant.model_version_id, threads)
        for variant in spec.variants
    }


def run(spec: ReplicaSpec, folder: Path, number: int, parent: int) -> None:
    """Be process `number` of the replica until told to stop; raises ReplicaError."""
    models = load_models(spec, folder)
    gc.collect()
    gc.freeze()  # what is loaded now lives as long as the process: no collection needs to look at it

    async def main() -> None:
        await ReplicaProcess(spec, folder, number, models).serve(parent)

    uvloop.run(main())
