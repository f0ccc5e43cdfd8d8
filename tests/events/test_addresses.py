"""Webhooks reach public addresses and hosts that the operator names, and nothing else."""

import socket
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from backend.core.settings import EventSettings
from backend.events.addresses import addresses_of, is_public, read_url
from backend.events.errors import AddressRefused, TargetRefused
from backend.events.posting import post
from backend.events.types import PATTERNS, unknown, wanted
from tests.events.conftest import Teller
from tests.events.receiver import Receiver

FORBIDDEN = (
    "127.0.0.1", "127.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",  # noqa: S104
    "224.0.0.1", "255.255.255.255", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::]", "[fe80::1]",
    "[fd00:ec2::254]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]", "[ff02::1]", "localhost", "LOCALHOST.", "db.localhost", "metadata.google.internal",
)  # fmt: skip


@pytest.mark.unit
@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(TargetRefused):
        read_url(f"https://{host}/hook", ())


@pytest.mark.unit
@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "ftp://example.com/", "https://", "https:///x", "https://a:b@example.com/", "nonsense",
     "https://example.com:0/", "https://example.com:99999/", "https://[::1", "https://example.com:x/", "https://./"],
)  # fmt: skip
def test_what_is_no_public_url_over_tls_is_refused(url: str) -> None:
    with pytest.raises(TargetRefused):
        read_url(url, ())


@pytest.mark.unit
def test_a_public_url_is_taken_apart() -> None:
    target = read_url("https://example.com:8443/a/b?c=d", ())
    assert (target.tls, target.host, target.port, target.path) == (True, "example.com", 8443, "/a/b?c=d")
    assert target.authority == "example.com:8443"
    assert read_url("https://[2606:4700::1]/", ()).authority == "[2606:4700::1]"
    assert is_public(ip_address("8.8.8.8"))
    assert is_public(ip_address("64:ff9b::808:808"))


@pytest.mark.unit
def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lookup(*_: object, **__: object) -> list[object]:
        kinds = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kinds, ("93.184.216.34", 443)), (*kinds, ("127.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    target = read_url("https://rebinding.example/", ())
    with pytest.raises(AddressRefused):
        addresses_of(target, ())
    outcome = post(target, b"{}", {}, timeout=2, allowed_hosts=())
    assert (outcome.ok, outcome.status) == (False, None)
    assert "127.0.0.1, which is not a public address" in outcome.error


@pytest.mark.unit
def test_types_are_matched_by_name_kind_or_all() -> None:
    assert wanted("job.failed", ["job.failed"])
    assert wanted("job.failed", ["job.*"])
    assert wanted("endpoint.failed", ["*"])
    assert not wanted("job.failed", ["endpoint.*", "job.completed"])
    assert unknown(["job.failed", "job.burnt"]) == ["job.burnt"]
    assert "endpoint.in_service" in PATTERNS


@pytest.mark.integration
def test_a_host_that_is_not_allowed_any_more_is_not_reached(
    make_teller: Callable[..., Teller], receiver: Receiver
) -> None:
    teller = make_teller()
    teller.subscribe(receiver.url)
    strict = make_teller(events=EventSettings())
    refused = strict.client.post("/api/v1/event-subscriptions", json={"target": receiver.url, "event_types": ["*"]})
    assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (
        422, "event_target_refused", "target",
    )  # fmt: skip
    teller.context = strict.context
    teller.job()
    teller.tell()
    assert receiver.got == []
    assert teller.log()[0]["last_error"] == "a webhook's target begins with https://"
