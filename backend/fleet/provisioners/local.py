"""The `local` provider: machines that are processes on this host, made by the daemon `worker.localhost`.

LocalProviderError
├── LocalProviderUnavailable   the daemon does not answer; nothing is known about the request
├── LocalProviderRefused       it answered no, with a code (insufficient capacity, shutting down, bad tag)
└── LocalMachineUnknown        no machine was ever asked for with this tag
"""

import http.client
import json
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

_TIMEOUT_SECONDS = 5.0
_NOT_FOUND = 404
_FIRST_ERROR = 400


class LocalProviderError(Exception):
    """Root of this provider's errors."""


class LocalProviderUnavailable(LocalProviderError):
    """The daemon does not answer in time; the call may or may not have happened: describe by tag."""


class LocalProviderRefused(LocalProviderError):
    """The daemon said no. `code` is stable, the message is for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class LocalMachineUnknown(LocalProviderError):
    """No machine was ever asked for with this tag."""


class LocalMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as the provider sees it; times by the provider's clock, to the microsecond."""

    tag: str
    shape: str
    state: Literal["pending", "running", "shutting-down", "terminated"]
    launched_at_ns: int | None
    terminated_at_ns: int | None

    @property
    def launched_at(self) -> datetime | None:
        """When it began to run."""
        return _moment(self.launched_at_ns)

    @property
    def terminated_at(self) -> datetime | None:
        """When no process of it was left."""
        return _moment(self.terminated_at_ns)


def _moment(nanoseconds: int | None) -> datetime | None:
    if nanoseconds is None:
        return None
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class LocalProvisioner:
    """Client of the daemon at a Unix socket. Every call ends within seconds; any may raise LocalProviderError."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def create(self, tag: str, shape: str, environment: Mapping[str, str]) -> LocalMachine:
        """Ask for a machine; the same tag is the same machine, whatever else is said."""
        body = {"tag": tag, "shape": shape, "environment": dict(environment)}
        return self._machine(self._call("POST", "/machines", body))

    def list(self) -> "list[LocalMachine]":
        """All machines that are not terminated."""
        answer = self._call("GET", "/machines")
        return [self._machine(machine) for machine in answer["machines"]]

    def describe(self, tag: str) -> LocalMachine:
        """One machine, terminated ones too. Raises LocalMachineUnknown."""
        return self._machine(self._call("GET", f"/machines/{quote(tag, safe='')}"))

    def terminate(self, tag: str) -> LocalMachine:
        """Begin to end it (again: no change). It is ended when `describe` says terminated."""
        return self._machine(self._call("DELETE", f"/machines/{quote(tag, safe='')}"))

    def fail_next_create(self, reason: str) -> None:
        """Inject a fault: the next create of a new machine is refused with `reason`."""
        self._call("POST", "/faults", {"operation": "create", "reason": reason})

    @staticmethod
    def _machine(raw: dict[str, Any]) -> LocalMachine:
        return msgspec.convert(raw, LocalMachine)

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = _UnixConnection(self._socket_path)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Connection": "close"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LocalProviderUnavailable(
                f"the local provider at {self._socket_path} does not answer: {error}"
            ) from error
        finally:
            connection.close()
        if response.status == _NOT_FOUND:
            raise LocalMachineUnknown(answer["detail"])
        if response.status >= _FIRST_ERROR:
            raise LocalProviderRefused(answer["error"], answer["detail"])
        return answer
