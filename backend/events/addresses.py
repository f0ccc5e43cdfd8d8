"""Where webhooks may go: public addresses over TLS, and hosts that the operator names.

A host name is looked up when the connection is made and the very address that was checked is connected to, so that a
name cannot lead elsewhere between the two. Every address of a name must be allowed: one that is both public and
private is refused.
"""

import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from backend.events.errors import AddressRefused, TargetRefused

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_MANY_LABELS = 253


@dataclass(frozen=True)
class Target:
    """A webhook's address, taken apart. `path` has the query."""

    tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == (443 if self.tls else 80) else f"{shown}:{self.port}"


def read_url(url: str, allowed_hosts: Collection[str]) -> Target:
    """What a webhook's URL says. Raises TargetRefused; a name is looked up only when it is connected to."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetRefused(f"this is no URL: {error}", field="target") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TargetRefused("a webhook's target begins with https:// and names a host", field="target")
    if parts.username is not None or parts.password is not None:
        raise TargetRefused("the URL must not hold a user name or password", field="target")
    host = parts.hostname.rstrip(".")
    if not host or len(host) > _MANY_LABELS or port == 0:
        raise TargetRefused("the URL names no host or no port that can be reached", field="target")
    allowed = host in allowed_hosts
    if parts.scheme == "http" and not allowed:
        raise TargetRefused("a webhook's target begins with https://", field="target")
    literal = _literal(host)
    if literal is not None and not allowed and not is_public(literal):
        raise TargetRefused(f"{host} is not a public address", field="target")
    if (
        literal is None
        and not allowed
        and (host == "localhost" or host.endswith((".localhost", ".local", ".internal")))
    ):
        raise TargetRefused(f"{host} is not a public host", field="target")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(tls=tls, host=host, port=port or (443 if tls else 80), path=path)


def addresses_of(target: Target, allowed_hosts: Collection[str]) -> list[str]:
    """Addresses to connect to, in order. Raises AddressRefused where one of them is not allowed, OSError for no such
    host.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(place[0]) for *_, place in found]
    if target.host not in allowed_hosts:
        for address in addresses:
            if not is_public(ip_address(address.partition("%")[0])):
                raise AddressRefused(f"{target.host} leads to {address}, which is not a public address")
    return addresses


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether everybody may reach it: not loopback, private, link-local, metadata, multicast or reserved; addresses
    inside IPv6 forms of IPv4 ones are looked at.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and any(address in network for network in _NAT64):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, in any of the ways that the resolver takes (`127.1`, `0x7f000001`)."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
