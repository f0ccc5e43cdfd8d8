"""Addresses that tenants name: what is not on the public internet is refused, also by detours."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from backend.core.outside import AddressRefused, NotReached, check_url, get, is_public

pytestmark = pytest.mark.unit
NOBODY: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1",
        "fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"])
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.csv", "ftp://example.org/a", "file:///etc/passwd", "https://", "https:///a",
        "//example.org",
        "https://user:word@example.org/a", "https://user@example.org/a", "https://example.org:99999/", "https://[::1]/a",
        "https://127.0.0.1/a", "https://[::ffff:10.0.0.1]/a", "https://example.org:0/", "https://exa mple.org/",
        "https://example.org/ü", "https://example.org/\n", "https://[bad/", "https://example.org\\@127.0.0.1/",
        "https://example.org/" + "a" * 5000, "gopher://127.0.0.1:6379/_FLUSHALL", "https://169.254.169.254/latest/",
    ],
)  # fmt: skip
def test_addresses_that_are_refused_by_their_text(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, NOBODY)


def test_only_named_hosts_may_be_private_or_plain() -> None:
    assert check_url("http://127.0.0.1:8080/a", {"127.0.0.1"}).port == 8080
    with pytest.raises(AddressRefused):
        check_url("http://127.0.0.2:8080/a", {"127.0.0.1"})


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1", "017700000001"])
def test_names_and_odd_spellings_of_our_own_addresses_are_refused_when_they_resolve(host: str) -> None:
    with (
        pytest.raises((AddressRefused, NotReached)),
        get(f"https://{host}/", headers={}, allowed_hosts=NOBODY, timeout_seconds=2),
    ):
        pass


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with (
        pytest.raises(AddressRefused, match="not on the public internet"),
        get("https://rebound.example/", headers={}, allowed_hosts=NOBODY, timeout_seconds=2),
    ):
        pass


class _Redirecting(BaseHTTPRequestHandler):
    """Sends whoever asks for `/to?…` to that address; says what it was sent."""

    def do_GET(self) -> None:
        target = self.path.partition("?")[2]
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.end_headers()
        self.wfile.write((self.headers.get("Authorization") or "nothing").encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Redirecting) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.05,))
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def read(url: str, allowed: set[str]) -> bytes:
    headers = {"Authorization": "Bearer secret"}
    with get(url, headers=headers, allowed_hosts=allowed, timeout_seconds=5) as answer:
        return answer.read(1000)


def test_redirects_are_checked_like_any_address(server: str) -> None:
    for target in ("https://169.254.169.254/latest/meta-data", "http://127.0.0.2/", "file:///etc/passwd"):
        with pytest.raises(AddressRefused):
            read(f"http://{server}/to?{target}", {"127.0.0.1"})
    with pytest.raises(AddressRefused, match="redirects"):
        read(f"http://{server}/to?{'/to?/to?' * 1}/to?/to?/to?/to?/to?/to?/to?/a", {"127.0.0.1"})


def test_a_secret_is_not_sent_to_another_host(server: str) -> None:
    port = server.partition(":")[2]
    assert read(f"http://{server}/a", {"127.0.0.1"}) == b"Bearer secret"
    assert read(f"http://{server}/to?/a", {"127.0.0.1"}) == b"Bearer secret"
    assert read(f"http://{server}/to?http://localhost:{port}/a", {"127.0.0.1", "localhost"}) == b"nothing"


def test_who_does_not_answer_is_not_reached() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(NotReached):
            read(f"http://127.0.0.1:{nobody.getsockname()[1]}/", {"127.0.0.1"})
    with pytest.raises(NotReached, match="not found"):
        read("https://no-such-host.invalid/", set())
