"""docs/reference/data-plane-errors.md: every refusal of the data plane with a request that causes it."""

from pathlib import Path

from tests.serving.refusals import SECTIONS, Refusal

PAGE = Path(__file__).parents[1] / "reference" / "data-plane-errors.md"
SHOWN_BYTES = 160
HEAD = """# Errors of the data plane

<!-- Made by `python -m docs.generators.refusals`; do not edit. -->

Endpoints answer as the Open Inference Protocol says: a status, and `{"error": "what is wrong"}`. Each request below is
sent by a test to a gateway with the endpoints `digits` (one input, FP32, [-1, 4]), `types` (an input of each
datatype), `table` (a lookup that knows four rows), `asleep` (none of its replicas is up), `paused` (no variant has
a weight), `words` (an input of strings), `pictures` (UINT8 [-1, 1, 4, 4]) and `fixed` (an input FP32 [2, 4]).
401 and 405 say in a
header what is wanted; 503 says in `Retry-After` when to ask again.

At SageMaker Runtime's address (`POST /endpoints/NAME/invocations`) an error has that protocol's shape: its type in
`x-amzn-errortype`, `{"Message": …}`, and where body or model are to blame `ModelError` (424), with status and message
of these tables as `OriginalStatusCode` and `OriginalMessage`.

Beyond these: 429 for a key with as many calls under way as it may have, 503 where more calls wait than can be
answered in time, 503 where as many connections are held as there is room for (each at once, with `Retry-After`; what
was accepted is answered), 502 where a replica process dies with a request that came through a trusted proxy, 408 for a
request that does not arrive in time, 503 with `usage cannot be recorded` where the replica's disk is full (a call that
cannot be billed is not answered), 503 for an input that does not fit into memory.
"""


def request(refusal: Refusal) -> str:
    """The request in a line of a table."""
    if refusal.raw is not None:
        said = refusal.shown or refusal.raw.decode("latin-1").split("\r\n\r\n")[0].replace("\r\n", " ⏎ ")
        tail = refusal.raw.partition(b"\r\n\r\n")[2]
        if tail and not refusal.shown:
            said += " ⏎ ⏎ " + tail.decode("latin-1").replace("\r\n", " ⏎ ").strip()
        return f"`{said}`" if not refusal.shown else said
    parts = [f"`{refusal.method} {refusal.path}`"]
    parts += [f"`{name}: {value}`" for name, value in refusal.headers.items()]
    if refusal.token is None:
        parts.append("without a key")
    elif refusal.token != "secret-a":  # noqa: S105 - the name of the key that is known
        parts.append(f"with a {refusal.token} key")
    body = refusal.shown or (f"`{refusal.body.decode()}`" if 0 < len(refusal.body) <= SHOWN_BYTES else "")
    return " ".join([*parts, body]).strip()


def render() -> str:
    """The page."""
    lines = [HEAD]
    for title, refusals in SECTIONS.items():
        lines += [f"## {title}\n", "| status | `error` says | request |", "|---|---|---|"]
        lines += [f"| {one.status} | {one.said.replace('|', chr(92) + '|')} | {request(one)} |" for one in refusals]
        lines.append("")
    return "\n".join(lines)


def write() -> None:
    """Write the page."""
    PAGE.write_text(render())


if __name__ == "__main__":
    write()
