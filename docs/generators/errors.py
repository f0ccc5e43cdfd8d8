"""docs/reference/errors.md: every error code with the requests that cause it, from the catalogue the tests play."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import backend
from backend.core.errors import DomainError
from backend.core.openapi import all_errors
from tests.catalogue.catalogue import SURFACES
from tests.catalogue.cause import Call, Cause
from tests.catalogue.stages import STAGES

PAGE = Path(__file__).parents[1] / "reference" / "errors.md"
HEAD = """# Errors

<!-- Made by `python -m docs.generators.errors`; do not edit. -->

Every error of the API, of the agents' and of the gateways' API is a problem document (RFC 9457,
`application/problem+json`):

| field | |
|---|---|
| `type` | always `about:blank`: the code says more |
| `title` | the kind of error, the same for every answer with this code |
| `status` | the HTTP status |
| `detail` | what happened here, in a sentence |
| `code` | stable: programs compare this |
| `hint` | the way out |

Some codes carry more fields. `Retry-After` comes with 429 and 503. Each request below is sent by a test, which checks
the answer; `{names}` stand for ids. `GET /api/v1/openapi.json` says for every route which codes it may answer with.
"""
CALLERS = {
    "owner": "$KEY",
    "viewer": "$VIEWERS_KEY",
    "developer": "$DEVELOPERS_KEY",
    "read-only": "$KEY_WITH_SCOPE_READ",
    "revoked": "$REVOKED_KEY",
    "expired": "$EXPIRED_KEY",
    "unknown": "my_unknown",
    "agent": "$INSTANCE_TOKEN",
}


def import_everything() -> None:
    """Import every module of the control plane, so that every error is known."""
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        importlib.import_module(module.name)


def described(cause: Cause) -> list[str]:
    """The cause as lines for a shell."""
    return [curl(call, cause.caller) for call in (*cause.before, cause.call)]


def curl(call: Call, caller: str) -> str:
    """One request as a curl command."""
    parts = ["curl"] + ([] if call.method == "GET" else ["-X", call.method]) + [f'"$MODELYARD{call.path}"']
    if caller == "cookie":
        parts.append('-b "modelyard_session=$SESSION"')
    elif caller == "operator":
        parts.append('-b "modelyard_session=$OPERATORS_SESSION" -H "X-Requested-With: curl"')
    elif caller != "nobody":
        parts.append(f'-H "Authorization: Bearer {CALLERS[caller]}"')
    parts += [f"-H {json.dumps(f'{name}: {value}')}" for name, value in call.headers.items()]
    if call.json is not None:
        parts.append(f"--json '{json.dumps(call.json)}'")
    if call.text is not None:
        parts.append(f"--json '{call.text.strip()}'")
    if call.file is not None:
        parts.append(f"--data-binary @{call.file}")
    return " ".join(parts) + ("  # and breaks off" if call.breaks_off else "")


def _section(code: str, causes: list[Cause], error: type[DomainError]) -> Iterator[str]:
    yield f"### `{code}`\n"
    yield f"**{error.status} {error.title}.** {(error.__doc__ or '').strip().splitlines()[0]}\n"
    yield f"What to do: {error.remedy}.\n"
    for cause in causes:
        if cause.stage != "plain":
            yield f"Given: {(STAGES[cause.stage].__doc__ or '').strip()}\n"
        lines = "\n".join(described(cause))
        yield f"```sh\n{lines}\n```\n"


def render() -> str:
    """The page."""
    import_everything()
    errors = {error.code: error for error in all_errors()}
    parts = [HEAD]
    for surface, causes in SURFACES.items():
        parts.append(f"## {surface}\n")
        for code in dict.fromkeys(cause.code for cause in causes):
            parts += _section(code, [cause for cause in causes if cause.code == code], errors[code])
    return "\n".join(parts)


def write() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())


if __name__ == "__main__":
    write()
