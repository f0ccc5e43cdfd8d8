"""Schemathesis over a served application: every phase and every check, as one caller, with one seed."""

import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.frontend.server import serving

CONFIG = Path(__file__).with_name("schemathesis.toml")


@dataclass
class Seen:
    """What the application answered: how often by status, and the error codes by operation and status."""

    statuses: Counter[int] = field(default_factory=Counter)
    codes: dict[tuple[str, str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    failures: list[str] = field(default_factory=list)

    def undeclared(self, document: Mapping[str, Any]) -> list[str]:
        """Codes that an operation answered with and does not declare."""
        found = []
        for (method, path, status), codes in self.codes.items():
            operation = document["paths"].get(path, {}).get(method.lower())
            if operation is None or status == 405:
                continue
            known = set(operation["responses"].get(str(status), {}).get("x-codes", ()))
            found += [f"{method} {path}: {status} {code}" for code in codes - known]
        return sorted(found)


class Recorder:
    """Passes every request on with the caller's current key, and writes down how it was answered.

    The callers may revoke keys, their own too: then they get a new one.
    """

    def __init__(self, app: ASGIApp, new_key: Callable[[], str]) -> None:
        self._app = app
        self._new_key = new_key
        self._key = new_key()
        self.seen = Seen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["headers"] = [
            (name, f"Bearer {self._key}".encode() if value == b"Bearer caller" else value)
            for name, value in scope["headers"]
        ]
        status, body = 0, b""

        async def note(message: Message) -> None:
            nonlocal status, body
            status = message.get("status", status)
            if status >= 400:
                body += message.get("body", b"")
            await send(message)

        await self._app(scope, receive, note)
        self._note(scope, status, body)

    def _note(self, scope: Scope, status: int, body: bytes) -> None:
        self.seen.statuses[status] += 1
        route = scope.get("route")
        path = getattr(route, "path_format", "")
        if status >= 400:
            code = orjson.loads(body)["code"] if body else ""
            self.seen.codes[scope["method"], path, status].add(code)
            if status >= 500:
                self.seen.failures.append(f"{scope['method']} {scope['path']}?{scope['query_string']!r}: {status}")
        if scope["method"] in {"DELETE", "PATCH"} and path.startswith(("/api/v1/api-keys", "/api/v1/members")):
            self._key = self._new_key()


def fuzz(app: ASGIApp, document: Path, new_key: Callable[[], str], *options: str) -> tuple[Seen, str]:
    """Run schemathesis; returns what was seen, and its report where it found something ('' where nothing)."""
    recorder = Recorder(app, new_key)
    with serving(recorder) as url:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(document),
            "--url", url, "--checks", "all", "-H", "Authorization: Bearer caller", "--no-color",
            "--continue-on-failure", "--suppress-health-check", "all", *options,
        ]  # fmt: skip
        environment = {**os.environ, "COLUMNS": "160", "SCHEMATHESIS_HOOKS": "tests.api.fuzz_checks"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return recorder.seen, "" if done.returncode == 0 else done.stdout + done.stderr
