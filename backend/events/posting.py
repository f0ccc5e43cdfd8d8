"""One POST to somebody's server, over a connection to an address that was checked. Redirects are not followed."""

import http.client
import socket
import ssl
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from backend.events.addresses import Target, addresses_of
from backend.events.errors import AddressRefused

MOST_TEXT = 1000
_READ_BYTES = 4096


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. `status` None = there was no answer, and `error` says why."""

    ok: bool
    status: int | None = None
    text: str = ""
    error: str = ""
    gone: bool = False
    """The receiver said that it wants no more (410)."""


class _Connection(http.client.HTTPConnection):
    """Over a socket that is open."""

    def __init__(self, target: Target, opened: socket.socket) -> None:
        super().__init__(target.host, target.port)
        self.sock = opened

    def connect(self) -> None:
        """It is."""
        raise ConnectionError("the receiver closed the connection")


def post(
    target: Target, body: bytes, headers: Mapping[str, str], *, timeout: float, allowed_hosts: Collection[str]
) -> Outcome:
    """POST `body` and read the beginning of the answer, all within `timeout` seconds. Never raises."""
    try:
        opened = _open(target, addresses_of(target, allowed_hosts), timeout / 4)
    except AddressRefused as error:
        return Outcome(ok=False, error=error.detail)
    except (OSError, UnicodeError, ValueError) as error:
        return Outcome(ok=False, error=_why(error))
    # A receiver that sends a byte now and then never runs into the socket's own timeout.
    over = threading.Event()
    handle = opened.dup()
    alarm = threading.Timer(timeout, _cut, (handle, over))
    alarm.daemon = True
    alarm.start()
    try:
        opened.settimeout(timeout)
        if target.tls:
            opened = ssl.create_default_context().wrap_socket(opened, server_hostname=target.host)
        return _exchange(target, opened, body, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = over.is_set() or isinstance(error, TimeoutError)
        return Outcome(ok=False, error=f"no answer within {timeout:g} seconds" if late else _why(error))
    finally:
        alarm.cancel()
        handle.close()
        opened.close()


def _open(target: Target, addresses: list[str], timeout: float) -> socket.socket:
    last: OSError = OSError(f"{target.host} has no address")
    for address in addresses[:2]:
        try:
            return socket.create_connection((address, target.port), timeout=timeout)
        except OSError as error:
            last = error
    raise last


def _cut(opened: socket.socket, over: threading.Event) -> None:
    over.set()
    with suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


def _exchange(target: Target, opened: socket.socket, body: bytes, headers: Mapping[str, str]) -> Outcome:
    connection = _Connection(target, opened)
    connection.request("POST", target.path, body, {**headers, "Host": target.authority, "Connection": "close"})
    answer = connection.getresponse()
    text = answer.read(_READ_BYTES).decode("utf-8", "replace").replace("\x00", "�")[:MOST_TEXT]
    ok = http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES
    error = "" if ok else f"answered {answer.status}"
    if http.client.MULTIPLE_CHOICES <= answer.status < http.client.BAD_REQUEST:
        error = f"answered {answer.status}: redirects are not followed"
    return Outcome(ok=ok, status=answer.status, text=text, error=error, gone=answer.status == http.client.GONE)


def _why(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).replace("\x00", "")[:300]
