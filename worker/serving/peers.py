"""Whose connection it is: trusted proxies, and what only they may say about the client behind them.

A trusted proxy may begin a connection with a PROXY header (version 1 or 2 of HAProxy's protocol): the connection is
then one client's from end to end. Without it, its requests may be many clients', and `X-Forwarded-For` says whose.
Neither is believed when it comes from anybody else.
"""

import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple

from worker.serving.errors import RequestError
from worker.serving.syntax import Fields

V1 = b"PROXY "
V1_LIMIT_BYTES = 107
V2 = b"\r\n\r\n\x00\r\nQUIT\n"
V2_HEAD_BYTES = 16
V2_LIMIT_BYTES = 2048
V2_LOCAL = 0x20
V2_PROXY = 0x21
V2_FAMILIES = {0x11: (socket.AF_INET, 4, 12), 0x21: (socket.AF_INET6, 16, 36)}
"""Family, bytes of one address, and bytes of both addresses with their ports, for TCP over IPv4 and IPv6."""


class TrustedProxies:
    """The networks whose connections are proxies'; raises ValueError for what is none."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(each) for each in networks]

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            plain = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(plain, ipaddress.IPv6Address) and plain.ipv4_mapped is not None:
            plain = plain.ipv4_mapped
        return any(plain in network for network in self._networks)

    def client(self, peer: str, fields: Fields) -> str:
        """Whose request it is: behind trusted proxies, the last address that none of them has (RFC 7239 §8.1)."""
        told = b",".join(value for name, value in fields if name == b"x-forwarded-for").decode("latin-1")
        client = peer
        for address in reversed([part.strip() for part in told.split(",")]):
            if client not in self or not _is_address(address):
                break
            client = address
        return client


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Announced(NamedTuple):
    """A PROXY header: its length in bytes (0 = there is none), and the client's address where it names one."""

    length: int
    client: str | None


def announced(read: bytes) -> Announced | None:
    """The PROXY header that a trusted proxy's connection begins with; None while that cannot be said yet.

    Raises RequestError 400 for one that is malformed.
    """
    if V1.startswith(read[: len(V1)]) or V2.startswith(read[: len(V2)]):
        if len(read) < (len(V1) if read.startswith(b"P") else len(V2)):
            return None
        return _version_1(read) if read.startswith(V1) else _version_2(read)
    return Announced(0, None)


def _version_1(read: bytes) -> Announced | None:
    end = read.find(b"\r\n", 0, V1_LIMIT_BYTES)
    if end < 0:
        if len(read) >= V1_LIMIT_BYTES:
            raise RequestError(400, "malformed PROXY header")
        return None
    match read[:end].decode("latin-1").split(" "):
        case ["PROXY", "UNKNOWN", *_]:
            return Announced(end + 2, None)
        case ["PROXY", "TCP4" | "TCP6", source, target, _, _] if _is_address(source) and _is_address(target):
            return Announced(end + 2, source)
    raise RequestError(400, "malformed PROXY header")


def _version_2(read: bytes) -> Announced | None:
    if len(read) < V2_HEAD_BYTES:
        return None
    command, family = read[12], read[13]
    length = int.from_bytes(read[14:16], "big")
    if command not in {V2_LOCAL, V2_PROXY} or length > V2_LIMIT_BYTES:
        raise RequestError(400, "malformed PROXY header")
    end = V2_HEAD_BYTES + length
    if len(read) < end:
        return None
    if command == V2_LOCAL or family not in V2_FAMILIES:
        return Announced(end, None)
    kind, size, both = V2_FAMILIES[family]
    if length < both:
        raise RequestError(400, "malformed PROXY header")
    return Announced(end, socket.inet_ntop(kind, read[V2_HEAD_BYTES : V2_HEAD_BYTES + size]))
