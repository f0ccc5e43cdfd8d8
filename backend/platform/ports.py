"""Ports are looked at before anything starts, and a busy one is named with the way to change it."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from backend.platform.errors import PortBusy


@dataclass(frozen=True, kw_only=True)
class Port:
    """A TCP port we are to listen on. `option`: how to choose another, as a person would type it."""

    name: str
    host: str
    number: int
    option: str


def check_ports(ports: Sequence[Port]) -> None:
    """Raise PortBusy unless each port can be bound now, and all differ."""
    seen: dict[int, Port] = {}
    for port in ports:
        other = seen.setdefault(port.number, port)
        if other is not port and other.host == port.host:
            raise PortBusy(
                f"{other.name} and {port.name} would both use port {port.number}; change one with {port.option}"
            )
        _check(port)


def _check(port: Port) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(
        port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do: connections in TIME_WAIT do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise PortBusy(f"{_reason(port, error)}; choose another with {port.option}") from None


def _reason(port: Port, error: OSError) -> str:
    where = f"port {port.number} on {port.host} ({port.name})"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use by another program"
    return f"{where} cannot be used: {error.strerror}"
