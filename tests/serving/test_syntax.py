"""The grammar of heads against two other readers: llhttp and h11. What we take, they take, and read alike."""

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.test_http import requests
from worker.serving.chunks import ChunkedBody
from worker.serving.errors import RequestError
from worker.serving.head import parse_head
from worker.serving.syntax import Request, head_end, read_request

pytestmark = pytest.mark.unit


class Callbacks:
    """What llhttp found."""

    def __init__(self) -> None:
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def by_llhttp(sent: bytes) -> Callbacks:
    found = Callbacks()
    httptools.HttpRequestParser(found).feed_data(sent)
    return found


def by_h11(sent: bytes) -> tuple[h11.Request, bytes, bool]:
    """Request, body, and whether it is whole; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    connection.receive_data(sent)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            return request, body, isinstance(event, h11.EndOfMessage)


def ours(sent: bytes) -> tuple[Request, bytes, bool, bytes] | None:
    """Request, body, whether it is whole, and its own bytes; None where it is refused."""
    try:
        end = head_end(sent)
        if end == 0:
            return None
        request, head = read_request(sent[:end]), parse_head(sent[:end])
        if not head.chunked:
            last = end + head.content_length
            return request, sent[end:last], len(sent) >= last, sent[:last]
        body = ChunkedBody(1 << 20)
        rest = body.feed(sent[end:])
        return request, bytes(body.body), body.complete, sent[: len(sent) - len(rest)] if body.complete else sent
    except RequestError as refusal:
        assert 400 <= refusal.status < 500  # noqa: PT017  beside what else is asked of it
        return None


def agree(sent: bytes) -> bool:
    """Whether we take the request; where we do, the other two take it too and read the same."""
    found = ours(sent)
    if found is None:
        return False
    request, body, whole, own = found
    if not whole:
        return True  # what it will become is not judged yet, by one reader or another
    other, other_body, other_whole = by_h11(own.removeprefix(b"\r\n"))
    assert (request.method.encode(), other_body, other_whole) == (other.method, body, whole)
    assert other.target.endswith(request.target)
    if not request.target.startswith(b"*"):
        third = by_llhttp(own)
        assert (third.body[: len(body)], third.complete or not whole) == (body, True)
        assert third.url.endswith(request.target)
        assert third.headers[: len(request.fields)] == request.fields
    return True


@settings(max_examples=300, deadline=None)
@given(requests())
def test_what_we_take_others_read_alike(sent: bytes) -> None:
    agree(sent)


@pytest.mark.slow
@settings(max_examples=10_000, derandomize=True, deadline=None)
@given(requests(), st.integers(0, 400), st.sampled_from(["", "\0", "\r", "\n", "\r\n", " ", ":", "\x0b", ";", "é"]))
def test_what_we_take_others_read_alike_with_a_byte_put_in(sent: bytes, at: int, put: str) -> None:
    agree(sent[:at] + put.encode("latin-1") + sent[at:])


def test_good_requests_are_taken() -> None:
    key = b"Host: x\r\nAuthorization: Bearer a\r\n"
    for sent in (
        b"POST /a HTTP/1.1\r\n" + key + b"Content-Length: 3\r\n\r\nabc",
        b"POST /a?b=c HTTP/1.1\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"GET http://x/a HTTP/1.1\r\n" + key + b"\r\n",
        b"GET /a HTTP/1.0\r\n\r\n",
        b"\r\nGET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /a HTTP/1.1\r\nhost:x\r\nX:\t\xe9\x80 a\tb \r\n\r\n",
    ):
        assert agree(sent), sent


@settings(max_examples=150, deadline=None)
@given(requests(), st.data())
def test_an_incomplete_head_is_refused_only_where_the_whole_is(sent: bytes, data: st.DataObject) -> None:
    """A refusal seen early is one that the whole request gets too."""
    end = sent.find(b"\r\n\r\n") + 4
    cut = data.draw(st.integers(0, end - 1))
    try:
        assert head_end(sent[:cut]) in {0, cut}
    except RequestError:
        assert ours(sent) is None
