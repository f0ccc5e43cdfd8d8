"""A load generator in a process of its own: a closed loop of keep-alive connections, each with one request at a time.

Raw asyncio on uvloop with httptools, so that a request costs it a few dozen microseconds. `measure` starts the process,
waits for its answer, and returns what it saw.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

COUNTER = b"@@@@@@@@@"
"""In a body: replaced by nine digits that no other request of the run has."""


@dataclass(frozen=True)
class Request:
    """One kind of request. `body` may hold `COUNTER`."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def encode(self) -> bytes:
        """Its bytes on the wire (HTTP/1.1, RFC 9112)."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (self.body or b"")


@dataclass(frozen=True)
class Seen:
    """What a run saw: seconds of each request that was answered 2xx, and how many were answered otherwise."""

    seconds: Sequence[float]
    elapsed: float
    failures: int
    first_failure: str

    @property
    def rate(self) -> float:
        """Requests/s."""
        return len(self.seconds) / self.elapsed

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        return percentile(self.seconds, share)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` in [0, 1]."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(method: str, path: str, headers: Mapping[str, str], body: object = None) -> Request:
    """A request with a JSON body, if any."""
    given = dict(headers) | ({"Content-Type": "application/json"} if body is not None else {})
    return Request(method, path, tuple(given.items()), None if body is None else json.dumps(body).encode())


class _Caller(asyncio.Protocol):
    """One connection: sends the next request when the last is answered, until told to stop."""

    def __init__(self, requests: Sequence[bytes], numbers: "count[int]", done: "asyncio.Future[None]") -> None:
        self._requests = requests
        self._numbers = numbers
        self._done = done
        self._sent = 0
        self._body = b""
        self._at = 0.0
        self._stopping = False
        self.seconds: list[float] = []
        self.failures = 0
        self.first_failure = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport in all but name.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        message = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        if COUNTER in message:
            message = message.replace(COUNTER, b"%09d" % next(self._numbers))
        self._parser = httptools.HttpResponseParser(self)
        self._at = time.perf_counter()
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if len(self._body) < 500:
            self._body += body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if 200 <= status < 300:
            self.seconds.append(time.perf_counter() - self._at)
        else:
            self.failures += 1
            self.first_failure = self.first_failure or f"{status} {self._body[:300]!r}"
        self._body = b""
        if self._stopping:
            self._transport.close()
        else:
            self._next()

    def stop(self) -> None:
        self._stopping = True

    def connection_lost(self, error: Exception | None) -> None:
        if not self._stopping:
            self.failures += 1
            self.first_failure = self.first_failure or f"connection lost: {error}"
        if not self._done.done():
            self._done.set_result(None)


async def _run(address: tuple[str, int], requests: Sequence[bytes], clients: int, seconds: float, begin: int) -> Seen:
    loop = asyncio.get_running_loop()
    numbers = count(begin)
    callers: list[_Caller] = []
    done: list[asyncio.Future[None]] = []
    began = time.perf_counter()
    for _ in range(clients):
        done.append(loop.create_future())
        caller = _Caller(requests, numbers, done[-1])
        callers.append(caller)
        await loop.create_connection(lambda caller=caller: caller, *address)  # type: ignore[misc]  # bound now
    await asyncio.sleep(seconds)
    for caller in callers:
        caller.stop()
    await asyncio.wait(done, timeout=30)
    elapsed = time.perf_counter() - began
    times = tuple(second for caller in callers for second in caller.seconds)
    failures = sum(caller.failures for caller in callers)
    return Seen(times, elapsed, failures, next((c.first_failure for c in callers if c.failures), ""))


def measure(url: str, requests: Sequence[Request], *, clients: int, seconds: float, begin: int = 0) -> Seen:
    """Send `requests` in turn over `clients` connections. Raises RuntimeError when one is not answered 2xx.

    Counters start at `begin`.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    order = {
        "address": (parts.hostname, parts.port),
        "requests": [one.encode().decode("latin-1") for one in requests],
        "clients": clients,
        "seconds": seconds,
        "begin": begin,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        cwd=Path(__file__).parents[1], input=json.dumps(order), capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen = Seen(**json.loads(done.stdout))
    if seen.failures or not seen.seconds:
        raise RuntimeError(f"{seen.failures} requests failed, the first: {seen.first_failure}")
    return seen


def main() -> None:
    """One run as standard input orders it; prints what was seen."""
    order = json.load(sys.stdin)
    messages = [one.encode("latin-1") for one in order["requests"]]
    seen = uvloop.run(_run(tuple(order["address"]), messages, order["clients"], order["seconds"], order["begin"]))
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
