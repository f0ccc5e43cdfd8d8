"""HTTP under the client: one connection pool, problem documents into errors, retries where they cannot double."""

import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any, TypeVar

import httpx2
import msgspec

from modelyard.errors import ApiError, BadAddress, ConnectionFailed, UnexpectedAnswer

T = TypeVar("T")
RETRIED_STATUS = frozenset({429, 502, 503, 504})
ADDRESS = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^/\[\]\s:@]+)(:[0-9]{1,5})?(/\S*)?")
ATTEMPTS = 5
STREAM_BYTES = 256 * 1024


class Transport:
    """Sends requests. Mutating calls carry an idempotency key, so a retry after a lost answer changes nothing.

    Raises BadAddress when it is made; every call ApiError, ConnectionFailed, UnexpectedAnswer.
    """

    def __init__(self, base_url: str, api_key: str, *, timeout_seconds: float) -> None:
        if not ADDRESS.fullmatch(base_url):
            raise BadAddress(f"'{base_url}' is not an address: write http://host:port")
        if not re.fullmatch(r"[\x21-\x7e]+", api_key):
            raise BadAddress("the API key is empty or holds characters that no key has")
        self._http = httpx2.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json"},
            timeout=httpx2.Timeout(timeout_seconds, connect=5.0),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the pool."""
        self._http.close()

    def get(self, path: str, kind: type[T], /, **query: Any) -> T:  # noqa: ANN401 - query values
        """GET one thing. Raises ApiError, ConnectionFailed."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._decode(self._send("GET", path, params=given), kind)

    def get_bytes(self, path: str) -> bytes:
        """GET raw content."""
        return self._send("GET", path).content

    def post(self, path: str, body: object, kind: type[T]) -> T:
        """POST JSON."""
        return self._write("POST", path, body, kind)

    def patch(self, path: str, body: object, kind: type[T]) -> T:
        """PATCH JSON."""
        return self._write("PATCH", path, body, kind)

    def put(self, path: str, body: object, kind: type[T]) -> T:
        """PUT JSON."""
        return self._write("PUT", path, body, kind)

    def put_bytes(self, path: str, content: bytes) -> None:
        """PUT raw content with its digest; doing it again is harmless."""
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": hashlib.sha256(content).hexdigest(),
        }
        self._send("PUT", path, content=content, headers=headers)

    def stream(self, path: str, /, **query: str | None) -> Iterator[bytes]:
        """GET raw content piece by piece. Raises ApiError, ConnectionFailed."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            with self._http.stream("GET", path, params=given) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(answer)
                yield from answer.iter_bytes(STREAM_BYTES)
        except httpx2.TransportError as error:
            raise ConnectionFailed(f"{self._http.base_url} does not answer: {error}") from error

    def delete(self, path: str) -> None:
        """DELETE."""
        self._send("DELETE", path, headers={"Idempotency-Key": str(uuid.uuid4())})

    def pages(self, path: str, item: type[T], /, **query: Any) -> Iterator[T]:  # noqa: ANN401 - query values
        """Every item of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, dict[str, Any], cursor=cursor, **query)
            try:
                yield from msgspec.convert(page.get("items"), list[item])  # type: ignore[valid-type]  # item is a type
            except msgspec.ValidationError as error:
                raise UnexpectedAnswer(f"{path} is not answered as this client expects: {error}") from error
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def _write(self, method: str, path: str, body: object, kind: type[T]) -> T:
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        answer = self._send(method, path, content=msgspec.json.encode(body), headers=headers)
        return self._decode(answer, kind)

    def _decode(self, answer: httpx2.Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(
                f"{self._http.base_url} does not answer as this client's API does: {error}"
            ) from error

    def _send(self, method: str, path: str, **options: Any) -> httpx2.Response:  # noqa: ANN401 - httpx's options
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = self._http.request(method, path, **options)
            except httpx2.TransportError as error:
                if last:
                    raise ConnectionFailed(f"{self._http.base_url} does not answer: {error}") from error
            else:
                if answer.is_success:
                    return answer
                if last or answer.status_code not in RETRIED_STATUS:
                    raise _error(answer)
            time.sleep(0.2 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _error(answer: httpx2.Response) -> ApiError:
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        problem = {}
    detail = str(problem.get("detail") or answer.reason_phrase or "no detail")
    hint = problem.get("hint")
    return ApiError(
        answer.status_code,
        str(problem.get("code", "unknown")),
        detail,
        str(hint) if hint else None,
        problem,
    )
