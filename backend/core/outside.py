"""Reading from addresses that tenants name, without letting them name ours (server-side request forgery).

A host is resolved here, every address it has must be public, and the connection goes to the address that was checked:
a name that answers differently the second time gains nothing. Each redirect is checked the same way. Hosts that the
operator allows by name (`MODELYARD_IMPORTS__ALLOWED_HOSTS`) may be private and may speak plain http. Proxies of the
environment are not used.
"""

import http.client
import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

import msgspec

MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 4096
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SECRET_HEADERS = frozenset({"authorization", "cookie"})
TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): an IPv4 address stands in the last 32 bits."""

Address = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """The address is not one that may be read from; trying again does not help."""


class NotReached(Exception):
    """The source cannot be reached, or broke off; trying again may help."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A response whose body is still to be read. `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: http.client.HTTPResponse

    def read(self, size_bytes: int) -> bytes:
        """Up to so many bytes; empty at the end. Raises NotReached."""
        try:
            return self.body.read(size_bytes)
        except (OSError, http.client.HTTPException) as error:
            raise NotReached(f"the connection broke off: {error}") from error


def check_url(url: str, allowed_hosts: Collection[str]) -> SplitResult:
    """The parts of an address that may be asked for, as far as its text says. Raises AddressRefused."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise AddressRefused(f"an address has up to {MAX_URL_CHARACTERS} printable ASCII characters and no space")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused(f"this is no address: {error}") from error
    host = parts.hostname or ""
    if not host:
        raise AddressRefused("the address names no host")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("credentials do not stand in the address: give them apart")
    allowed = host in allowed_hosts
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise AddressRefused("only https:// addresses are read")
    if port == 0:
        raise AddressRefused("port 0 is no port")
    if not allowed:
        _check_literal(host)
    return parts


def _check_literal(host: str) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        return
    if not is_public(address):
        raise AddressRefused(f"{host} is no public address")


def is_public(address: Address) -> bool:
    """Whether it belongs to the internet at large, also where an IPv4 address is wrapped into it."""
    if isinstance(address, IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in TRANSLATED:
            wrapped = IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@contextmanager
def get(
    url: str, *, headers: Mapping[str, str], allowed_hosts: Collection[str], timeout_seconds: float
) -> Iterator[Answer]:
    """GET, following redirects; what is secret is not sent to another host. Raises AddressRefused, NotReached."""
    sent = dict(headers)
    for _ in range(MAX_REDIRECTS + 1):
        parts = check_url(url, allowed_hosts)
        connection = _connection(parts, allowed_hosts, timeout_seconds)
        try:
            answer = _ask(connection, parts, sent)
            if answer.status not in REDIRECTS or "location" not in answer.headers:
                yield answer
                return
            url = urljoin(url, answer.headers["location"])
            if _origin(check_url(url, allowed_hosts)) != _origin(parts):
                sent = {name: value for name, value in sent.items() if name.lower() not in SECRET_HEADERS}
        finally:
            connection.close()
    raise AddressRefused(f"more than {MAX_REDIRECTS} redirects")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _ask(connection: http.client.HTTPConnection, parts: SplitResult, headers: Mapping[str, str]) -> Answer:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", target, headers=dict(headers))
        body = connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotReached(f"{parts.hostname} did not answer: {error}") from error
    return Answer(status=body.status, headers={name.lower(): value for name, value in body.getheaders()}, body=body)


def _connection(
    parts: SplitResult, allowed_hosts: Collection[str], timeout_seconds: float
) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = _resolved(host, port, checked=host not in allowed_hosts)
    if parts.scheme == "https":
        return _CheckedTls(host, port, addresses, timeout_seconds)
    return _Checked(host, port, addresses, timeout_seconds)


def _resolved(host: str, port: int, *, checked: bool) -> list[str]:
    """Addresses of a host, all of them public where `checked`. Raises AddressRefused, NotReached."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotReached(f"the host {host} is not found") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    # One that is not public is enough: whoever mixes them means no good.
    if checked and not all(is_public(ip_address(each.partition("%")[0])) for each in addresses):
        raise AddressRefused(f"{host} is not on the public internet")
    return addresses


def _connect(addresses: list[str], port: int, timeout_seconds: float) -> socket.socket:
    last: OSError = OSError("it has no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout=timeout_seconds)
        except OSError as error:
            last = error
    raise last


class _Checked(http.client.HTTPConnection):
    """Connects to addresses that were checked; the host is only what the request says."""

    def __init__(self, host: str, port: int, addresses: list[str], timeout_seconds: float) -> None:
        super().__init__(host, port, timeout=timeout_seconds)
        self._addresses, self._seconds = addresses, timeout_seconds

    def connect(self) -> None:
        """A socket to the first address that answers."""
        self.sock = _connect(self._addresses, self.port, self._seconds)


class _CheckedTls(http.client.HTTPSConnection):
    """The same under TLS; the certificate must be the host's."""

    def __init__(self, host: str, port: int, addresses: list[str], timeout_seconds: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout_seconds, context=self._tls)
        self._addresses, self._seconds = addresses, timeout_seconds

    def connect(self) -> None:
        """A socket to the first address that answers, wrapped."""
        plain = _connect(self._addresses, self.port, self._seconds)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
