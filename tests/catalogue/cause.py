"""What a cause is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOBODY = "00000000-0000-7000-8000-000000000000"
"""An id that nothing has."""


@dataclass(frozen=True)
class Call:
    """One request. `{names}` in address and body stand for ids; `file` is one of `files.FILES`, sent as it is."""

    method: str
    path: str
    json: Any = None
    text: str | None = None
    file: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    saves: Mapping[str, str] = field(default_factory=dict)
    """Name by field of the answer, for the calls after it."""
    breaks_off: bool = False
    """The connection ends in the middle of the body."""


@dataclass(frozen=True)
class Cause:
    """`call`, after `before` and on the stage `stage`, is answered with `code`."""

    code: str
    call: Call
    before: tuple[Call, ...] = ()
    stage: str = "plain"
    caller: str = "owner"

    @property
    def name(self) -> str:
        """How a test names it."""
        return f"{self.code}: {self.call.method} {self.call.path}"


def get(path: str, **other: Any) -> Call:
    """A GET of the public API."""
    return Call("GET", f"/api/v1{path}", **other)


def post(path: str, json: Any = None, **other: Any) -> Call:
    """A POST to the public API."""
    return Call("POST", f"/api/v1{path}", json, **other)


def put(path: str, **other: Any) -> Call:
    """A PUT to the public API."""
    return Call("PUT", f"/api/v1{path}", **other)


def patch(path: str, json: Any = None) -> Call:
    """A PATCH of the public API."""
    return Call("PATCH", f"/api/v1{path}", json)


def delete(path: str) -> Call:
    """A DELETE in the public API."""
    return Call("DELETE", f"/api/v1{path}")
