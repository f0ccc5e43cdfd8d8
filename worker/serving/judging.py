"""What a gateway says of a request by its head alone: its own answers, and whose endpoint is asked."""

from backend.core.wire import Route, RouteKey
from worker.serving import answers
from worker.serving.description import server_metadata
from worker.serving.errors import RequestError
from worker.serving.head import Head, allowed, judge_method
from worker.serving.syntax import HEAD_END
from worker.serving.table import RoutingTable


def public_answer(table: RoutingTable, head: Head, *, keep_alive: bool) -> bytes:
    """The gateway's own answer to a request that needs no key; raises RequestError 405."""
    judge_method(head)
    if head.method == "OPTIONS":
        return answers.options(allowed(head), keep_alive=keep_alive, old_http=head.old_http)
    ready = table.version >= 0
    status = 503 if head.kind == "ready" and not ready else 200
    content = server_metadata()
    if head.kind == "live":
        content = {"live": True}
    elif head.kind == "ready":
        content = {"ready": ready}
    return bare(answers.answer(status, content, keep_alive=keep_alive, old_http=head.old_http), head)


def bare(answer: bytes, head: Head | None) -> bytes:
    """The answer without its body where the request was HEAD."""
    if head is not None and head.method == "HEAD":
        return answer[: answer.index(HEAD_END) + len(HEAD_END)]
    return answer


def find_key(table: RoutingTable, head: Head) -> RouteKey:
    """The key a request comes with; raises RequestError 401."""
    key = table.key(head.token_sha256) if head.token_sha256 else None
    if key is None:
        raise RequestError(401, "a valid bearer key is needed", (("www-authenticate", "Bearer"),))
    return key


def find_route(table: RoutingTable, key: RouteKey, head: Head) -> Route:
    """The endpoint a request is for; raises RequestError 404."""
    if head.kind == "unknown":
        raise RequestError(404, "there is nothing at this address")
    route = table.routes.get((key.organization_id, head.endpoint))
    if route is None:
        raise RequestError(404, f"there is no endpoint {head.endpoint!r}")
    return route
