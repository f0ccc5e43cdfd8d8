"""Answers of a replica process are a tenant's: what passes to a shared connection, and what ends there."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.serving.head import Head
from worker.serving.relay import Relay

pytestmark = pytest.mark.unit
GOOD = b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /b\r\nVary: b\r\ncontent-length: 5\r\n\r\nhello"


def asked(method: str = "POST", *, expect: bool = False) -> Head:
    head = Head()
    head.method, head.expect_continue = method, expect
    return head


@settings(deadline=None)
@given(st.lists(st.integers(1, len(GOOD) - 1), max_size=4, unique=True).map(sorted))
def test_an_answer_passes_however_it_comes(cuts: list[int]) -> None:
    relay = Relay(asked())
    edges = [0, *cuts, len(GOOD)]
    passed = b"".join(relay.feed(GOOD[start:end], keep_alive=True) for start, end in itertools.pairwise(edges))
    assert passed == b"HTTP/1.1 200 OK\r\nvary: b\r\ncontent-length: 5\r\n\r\nhello"
    assert relay.complete
    assert relay.reusable


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\n b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 0\r\n\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40_000,
    ],
)
def test_what_is_no_answer_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|header"):
        Relay(asked()).feed(sent, keep_alive=True)


def test_a_second_answer_that_nobody_asked_for_does_not_pass() -> None:
    relay = Relay(asked())
    assert relay.feed(GOOD + GOOD, keep_alive=True).endswith(b"\r\n\r\nhello")
    assert relay.complete
    assert not relay.reusable


def test_no_body_where_none_belongs() -> None:
    relay = Relay(asked("HEAD"))
    assert relay.feed(GOOD, keep_alive=True).endswith(b"content-length: 5\r\n\r\n")
    assert (relay.complete, relay.reusable) == (True, False)
    relay = Relay(asked())
    assert b"content-length" not in relay.feed(b"HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nhello", keep_alive=True)
    assert (relay.complete, relay.reusable) == (True, False)


def test_interim_answers_pass_to_who_waits_and_the_connection_is_our_own_matter() -> None:
    relay = Relay(asked(expect=True))
    assert relay.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP", keep_alive=True) == b"HTTP/1.1 100 Continue\r\n\r\n"
    last = relay.feed(b"/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", keep_alive=True)
    assert last == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    assert (relay.complete, relay.reusable) == (True, False)
    assert b"connection: close\r\n" in Relay(asked()).feed(GOOD, keep_alive=False)
