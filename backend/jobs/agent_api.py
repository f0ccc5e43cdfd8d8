"""The agents' API under `/agent/v1`: JSON by msgspec, an instance's bearer token, no page and no schema."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from backend.core import wire
from backend.core.db import Database
from backend.core.errors import Invalid, NotFound, TooLarge
from backend.core.http import gathered
from backend.core.problems import may_raise, raises
from backend.core.settings import Settings
from backend.core.storage import (
    STORED,
    DigestMismatch,
    ObjectMissing,
    ObjectStore,
    Received,
    StorageUnavailable,
)
from backend.datasets.service import record_blob
from backend.fleet import subjects
from backend.fleet import sync as agents
from backend.fleet.agent_auth import AgentCaller, AgentIdentity, agent_unit_of_work
from backend.fleet.errors import AssignmentNotFound, InstanceTokenUnknown, StaleEpoch
from backend.jobs import specs

router = APIRouter(prefix="/agent/v1", include_in_schema=False)

MAX_JSON_BYTES = 8 * 1024 * 1024
MAX_BATCH = 1000
DIGEST = re.compile(r"[0-9a-f]{64}")
Message = TypeVar("Message")
Epoch = Annotated[int, Query(ge=1)]


class MalformedMessage(Invalid):
    """The body is not what this route takes."""

    code = "malformed_message"
    title = "Malformed message"
    remedy = "send what `backend.core.wire` describes"


class BlobNotReadable(NotFound):
    """The assignment may not read this blob, or there is none."""

    code = "blob_not_found"
    title = "Blob not found"
    remedy = "read only what the assignment's inputs name"


_READING = (MalformedMessage, AssignmentNotFound, StaleEpoch, BlobNotReadable, ObjectMissing, StorageUnavailable)


@may_raise(TooLarge)
async def raw_body(request: Request) -> bytes:
    """The whole body, bounded. Raises TooLarge."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise TooLarge(f"a message may have {MAX_JSON_BYTES} bytes")
    return bytes(body)


Body = Annotated[bytes, Depends(raw_body)]


def _decode(body: bytes, kind: type[Message]) -> Message:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(str(error)) from error


def _answer(message: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(message), media_type="application/json")


@router.post("/hello", responses=raises(InstanceTokenUnknown, MalformedMessage))
def hello(request: Request, body: Body) -> Response:
    """An agent's first words after a boot or a restart."""
    with agent_unit_of_work(request) as (session, agent):
        said = _decode(body, wire.HelloRequest)
        return _answer(agents.hello(session, agent.scope, agent.instance_id, said, request.app.state.settings))


@router.post("/sync", responses=raises(InstanceTokenUnknown, MalformedMessage, *STORED))
def sync(request: Request, body: Body) -> Response:
    """Reports and heartbeats in, desired state out."""
    state = request.app.state
    with agent_unit_of_work(request) as (session, agent):
        said = _decode(body, wire.SyncRequest)
        if not any(isinstance(report.body, wire.Logs) for report in said.reports):
            return _answer(_record_and_reply(session, agent, said, state.settings))
        mine = set(agents.open_assignments(session, agent.scope, agent.instance_id))
    # Object storage first, under a key that a replay overwrites with itself; the row follows with the report.
    _store_logs(state.storage, agent.organization_id, mine, said)
    with agent_unit_of_work(request) as (session, agent):
        return _answer(_record_and_reply(session, agent, said, state.settings))


def _record_and_reply(
    session: Session, agent: AgentIdentity, said: wire.SyncRequest, settings: Settings
) -> wire.SyncReply:
    """Reports into rows; what should run here, and for an instance with nothing to run: what to load ahead."""
    reply = agents.sync(session, agent.scope, agent.instance_id, said, settings)
    if reply.assignments or reply.drain:
        return reply
    return msgspec.structs.replace(reply, standby=specs.standby(session, agent.scope, agent.instance_id))


def _store_logs(storage: ObjectStore, organization_id: UUID, mine: set[str], said: wire.SyncRequest) -> None:
    for report in said.reports:
        if isinstance(report.body, wire.Logs) and report.assignment_id in mine:
            key = agents.log_key(organization_id, report.assignment_id, report.epoch, report.seq)
            storage.put(key, msgspec.json.encode(report.body))


@router.get(
    "/assignments/{assignment_id}/blobs/{sha256}",
    responses=raises(
        MalformedMessage, AssignmentNotFound, StaleEpoch, BlobNotReadable, ObjectMissing, StorageUnavailable
    ),
)
def read_blob(
    request: Request, agent: AgentCaller, assignment_id: UUID, sha256: str, epoch: Epoch
) -> StreamingResponse:
    """One blob of the assignment's inputs."""
    _check_readable(request, agent, assignment_id, epoch, [sha256])
    storage: ObjectStore = request.app.state.storage
    return StreamingResponse(storage.stream_blob(agent.organization_id, sha256), media_type="application/octet-stream")


class BatchRequest(msgspec.Struct):
    """Digests to stream in one answer."""

    sha256: list[str]


@router.post(
    "/assignments/{assignment_id}/blobs/batch",
    responses=raises(
        MalformedMessage, AssignmentNotFound, StaleEpoch, BlobNotReadable, ObjectMissing, StorageUnavailable
    ),
)
def read_blobs(
    request: Request, agent: AgentCaller, assignment_id: UUID, epoch: Epoch, body: Body
) -> StreamingResponse:
    """Many small blobs in one stream of frames: 64 hex digits, 16 decimal digits of size, content."""
    wanted = _decode(body, BatchRequest).sha256
    if len(wanted) > MAX_BATCH:
        raise MalformedMessage(f"a batch may name {MAX_BATCH} blobs")
    _check_readable(request, agent, assignment_id, epoch, wanted)
    storage: ObjectStore = request.app.state.storage

    def frames() -> Iterator[bytes]:
        for sha256 in wanted:
            content = storage.get_blob(agent.organization_id, sha256)
            yield sha256.encode() + b"%016d" % len(content) + content

    return StreamingResponse(frames(), media_type="application/octet-stream")


@router.put(
    "/assignments/{assignment_id}/blobs/{sha256}",
    responses=raises(MalformedMessage, AssignmentNotFound, StaleEpoch, DigestMismatch, *STORED),
)
async def write_blob(request: Request, agent: AgentCaller, assignment_id: UUID, sha256: str, epoch: Epoch) -> Response:
    """A file of a checkpoint or a result. The digest is checked; a stale epoch is refused before and after."""
    _check_digests([sha256])
    state = request.app.state
    await run_in_threadpool(_check_current, state.database, agent, assignment_id, epoch)
    size = await _put_stream(state.storage, agent.organization_id, sha256, request.stream())

    def record() -> None:
        with state.database.unit_of_work(agent.scope) as session:
            agents.assignment_of(session, agent.scope, agent.instance_id, assignment_id, epoch)
            record_blob(session, agent.scope, sha256, size)

    await run_in_threadpool(record)
    return Response(msgspec.json.encode({"size_bytes": size}), media_type="application/json")


async def _put_stream(storage: ObjectStore, organization_id: UUID, sha256: str, stream: AsyncIterator[bytes]) -> int:
    """Spool the body off the event loop, then store it under its digest."""
    with Received() as received:
        async for chunk in gathered(stream):
            await run_in_threadpool(received.write, chunk)
        await run_in_threadpool(storage.put_received, organization_id, sha256, received)
        return received.size_bytes


def _check_current(database: Database, agent: AgentCaller, assignment_id: UUID, epoch: int) -> None:
    with database.unit_of_work(agent.scope) as session:
        agents.assignment_of(session, agent.scope, agent.instance_id, assignment_id, epoch)


def _check_readable(request: Request, agent: AgentCaller, assignment_id: UUID, epoch: int, digests: list[str]) -> None:
    _check_digests(digests)
    state = request.app.state
    with state.database.unit_of_work(agent.scope) as session:
        assignment = agents.assignment_of(session, agent.scope, agent.instance_id, assignment_id, epoch)
        readable = subjects.owner_of(assignment).readable(session, state.storage, agent.scope, assignment)
    for sha256 in digests:
        if sha256 not in readable:
            raise BlobNotReadable(f"assignment {assignment_id} has no input {sha256}")


def _check_digests(digests: list[str]) -> None:
    for sha256 in digests:
        if not DIGEST.fullmatch(sha256):
            raise MalformedMessage("a digest is 64 lower-case hex digits")
