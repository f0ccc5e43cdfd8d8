"""What comes out of a job process: lines of output from a pipe, `JobMessage`s from its socket. All of it hostile.

What passes here becomes reports, and a report that the control plane cannot take would block all later ones, the end
and the heartbeats of its attempt included: so sizes, depths and ranges are held here.
"""

import contextlib
import math
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from backend.core.wire import CheckpointWritten, JobFailed, Metrics, MetricSeries, Progress, ResultWritten
from worker.agent.process import PIPE_BYTES

LINE_BYTES = 16 << 10
MESSAGE_BYTES = 1 << 20
CONNECTIONS = 16
NAME_CHARACTERS = 200
STEP_LIMIT = 1 << 31
POINTS_PER_MESSAGE = 20_000
SERIES_PER_MESSAGE = 1000
SUMMARY_DEPTH = 32
TRUNCATED = " [modelyard: line cut at 16 KiB]"


class _LooseSeries(msgspec.Struct, frozen=True, kw_only=True):
    """A series as a process may send it: JSON has no NaN or infinity, they come as null."""

    name: str
    steps: list[int]
    values: list[float | None]
    times: list[float]


class _LooseMetrics(msgspec.Struct, frozen=True, kw_only=True, tag="metrics"):
    series: list[_LooseSeries]


ReceivedMessage = Progress | Metrics | CheckpointWritten | ResultWritten | JobFailed
_RawMessage = Progress | _LooseMetrics | CheckpointWritten | ResultWritten | JobFailed
_DECODER: msgspec.json.Decoder[_RawMessage] = msgspec.json.Decoder(_RawMessage)


def clean(text: str, limit: int = LINE_BYTES) -> str:
    """Text without NUL (no database keeps it), at most `limit` characters."""
    return text.replace("\x00", "\ufffd")[:limit]


class Lines:
    """Bytes in, whole lines out: without their newline, cut at 16 KiB, undecodable bytes replaced."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._partial = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """More output."""
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self._extend(piece)
            self.end_line()
        self._extend(pieces[-1])

    def _extend(self, piece: bytes) -> None:
        room = LINE_BYTES - len(self._partial)
        self._partial += piece[:room]
        self._skipping = self._skipping or len(piece) > room

    def end_line(self, *, only_partial: bool = False) -> None:
        """The line is over. `only_partial`: at the end of the output, where an empty rest is no line."""
        if only_partial and not self._partial:
            return
        text = clean(self._partial.decode(errors="replace").rstrip("\r"))
        self._on_line(text + TRUNCATED if self._skipping else text)
        self._partial.clear()
        self._skipping = False


def decode_message(line: bytes) -> ReceivedMessage:
    """One message of a job process. Raises msgspec.DecodeError with what is wrong."""
    try:
        message = _DECODER.decode(line)
    except (RecursionError, ValueError) as error:  # nested too deep; text that is no UTF-8, a number without end
        raise msgspec.DecodeError(str(error)) from None
    if isinstance(message, _LooseMetrics):
        return _checked_metrics(message)
    if isinstance(message, Progress):
        _check_steps(message.step, message.total_steps)
        return Progress(step=message.step, total_steps=message.total_steps, phase=clean(message.phase, NAME_CHARACTERS))
    if isinstance(message, CheckpointWritten):
        _check_steps(message.step)
    if isinstance(message, ResultWritten):
        _check_depth(message.summary)
        if b"\\u0000" in msgspec.json.encode(message.summary):
            raise msgspec.ValidationError("the summary of a result may hold no NUL character")
    return message


def _checked_metrics(message: _LooseMetrics) -> Metrics:
    points = sum(len(series.steps) for series in message.series)
    if points > POINTS_PER_MESSAGE or len(message.series) > SERIES_PER_MESSAGE:
        raise msgspec.ValidationError(
            f"a message may have {POINTS_PER_MESSAGE} points in {SERIES_PER_MESSAGE} series; send several"
        )
    return Metrics(series=[_finite(series) for series in message.series])


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(SUMMARY_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise msgspec.ValidationError(f"the summary of a result may be nested {SUMMARY_DEPTH} deep")


def _check_steps(*steps: int) -> None:
    """What no column can keep would stop every later report too."""
    if not all(0 <= step < STEP_LIMIT for step in steps):
        raise msgspec.ValidationError(f"a step must be from 0 to {STEP_LIMIT - 1}")


def _finite(series: _LooseSeries) -> MetricSeries:
    if not len(series.steps) == len(series.values) == len(series.times):
        raise msgspec.ValidationError(f"the columns of series {series.name[:50]!r} differ in length")
    rows = [
        (step, value, at)
        for step, value, at in zip(series.steps, series.values, series.times, strict=True)
        if value is not None and math.isfinite(value) and 0 <= step < STEP_LIMIT
    ]
    return MetricSeries(
        name=clean(series.name, NAME_CHARACTERS),
        steps=[row[0] for row in rows],
        values=[row[1] for row in rows],
        times=[row[2] for row in rows],
    )


class JobPump:
    """Turns a process's output and messages into calls, in the thread that runs it.

    `listener` is the socket at `job/agent.sock`; the path is bound relative to the folder, which may be long.
    """

    def __init__(
        self,
        job_folder: Path,
        uid: int,
        *,
        on_line: Callable[[str], None],
        on_message: Callable[[ReceivedMessage], None],
    ) -> None:
        self._on_message = on_message
        self._on_line = on_line
        self.lines = Lines(on_line)
        self._selector = selectors.DefaultSelector()
        self._partial: dict[socket.socket, bytearray] = {}
        self._listener = _listen(job_folder, uid)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._output: int | None = None

    def watch(self, output: int, exited: int) -> None:
        """Read this output too, and return from `turn` when `exited` becomes readable."""
        self._output = output
        self._selector.register(output, selectors.EVENT_READ, self._read_output)
        self._selector.register(exited, selectors.EVENT_READ, lambda: None)

    def turn(self, timeout_seconds: float) -> None:
        """Handle what has come, or wait for it."""
        for key, _ in self._selector.select(timeout_seconds):
            key.data()

    def drain(self) -> None:
        """After the process is gone: everything it left in the pipe and the sockets."""
        while self._output is not None and self._read_output():
            pass
        with contextlib.suppress(BlockingIOError):
            while True:
                self._accept_one()
        for connection in list(self._partial):
            while self._read_messages(connection):
                pass
        self.lines.end_line(only_partial=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._accept_one()

    def _accept_one(self) -> None:
        connection, _ = self._listener.accept()
        if len(self._partial) >= CONNECTIONS:
            connection.close()
            return
        connection.settimeout(0)
        self._partial[connection] = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read_messages(connection))

    def _read_output(self) -> bool:
        if self._output is None:
            return False
        try:
            data = os.read(self._output, PIPE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(self._output)
            self._output = None
            return False
        self.lines.feed(data)
        return True

    def _read_messages(self, connection: socket.socket) -> bool:
        try:
            data = connection.recv(PIPE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        partial = self._partial[connection]
        partial += data
        *lines, rest = partial.split(b"\n")
        for line in lines:
            self._take(bytes(line))
        partial[:] = rest
        if not data or len(partial) > MESSAGE_BYTES:
            self._selector.unregister(connection)
            del self._partial[connection]
            connection.close()
            return False
        return True

    def _take(self, line: bytes) -> None:
        try:
            message = decode_message(line)
        except msgspec.DecodeError as error:
            self._on_line(f"[modelyard: a message of the job was not understood: {error}]")
            return
        self._on_message(message)

    def close(self) -> None:
        """Close every socket; the pipe belongs to the process."""
        for connection in self._partial:
            connection.close()
        self._listener.close()
        self._selector.close()


def _listen(job_folder: Path, uid: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(job_folder, os.O_PATH | os.O_DIRECTORY)
    try:
        name = f"/proc/self/fd/{folder}/agent.sock"
        listener.bind(name)
        os.chmod(name, 0o600)  # noqa: PTH101 # a path through a descriptor
        if uid != os.geteuid():
            os.chown(name, uid, uid)
    finally:
        os.close(folder)
    listener.listen(CONNECTIONS)
    listener.settimeout(0)
    return listener
