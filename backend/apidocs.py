"""The API's reference, from its OpenAPI document, with nothing from elsewhere.

`/api/docs` is browsable: Swagger UI, bundled with the dashboard's assets, from which requests can be sent. Where the
assets were not built it leads to `/api/v1/docs`, one plain page without a script.
"""

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d273b }
h2 { margin-top: 2.5rem; text-transform: capitalize }
summary { cursor: pointer; padding: .35rem 0 }
code { font: 13px ui-monospace, monospace }
summary b { display: inline-block; width: 4.5rem; font: 600 12px ui-monospace, monospace }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #dce1e7 } a { color: #6ea8fe } }
"""
_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
_BROWSABLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_BROWSABLE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title} API</title>
  <link rel="stylesheet" href="{style}">
  <link rel="icon" href="data:,">
  <script src="{script}" defer></script>
</head>
<body>
  <p class="api-docs-head"><strong>{title} API</strong> <a href="/api/v1/openapi.json">openapi.json</a>
    <a href="/api/v1/docs">plain page</a> <a href="/">dashboard</a></p>
  <div id="api-docs" data-document="/api/v1/openapi.json"></div>
</body>
</html>
"""


@router.get("/api/docs")
def browse_docs(request: Request) -> Response:
    """The browsable reference."""
    assets: Mapping[str, str] = request.app.state.assets
    if not {"apidocs.js", "apidocs.css"} <= assets.keys():
        return RedirectResponse("/api/v1/docs")
    page = _BROWSABLE.format(
        title=escape(request.app.title),
        style=f"/static/{assets['apidocs.css']}",
        script=f"/static/{assets['apidocs.js']}",
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _BROWSABLE_POLICY})


@router.get("/api/v1/docs")
def show_docs(request: Request) -> HTMLResponse:
    """The reference page."""
    page = render(request.app.openapi())
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def render(document: dict[str, Any]) -> str:
    """HTML of an OpenAPI 3 document: operations by tag, with their parameters and answers."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in by_tag.items())
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title} API</title><style>{_STYLE}</style>"
        f"<h1>{title} API</h1><p>Credentials: <code>Authorization: Bearer …</code>. Errors are problem documents "
        "(RFC 9457). Machine-readable: <a href=/api/v1/openapi.json>openapi.json</a>.</p>"
        f"{sections}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(item['name'])}</code><td>{escape(item['in'])}<td>{escape(_type(item['schema']))}"
        f"<td>{escape(item.get('description') or item['schema'].get('description') or '')}"
        for item in operation.get("parameters", [])
    )
    bodies = operation.get("requestBody", {}).get("content", {})
    body = "".join(
        f"<p>Body: <code>{escape(kind)}</code> {escape(_type(item.get('schema', {})))}</p>"
        for kind, item in bodies.items()
    )
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code><td>{escape(_answer(answer))}"
        for status, answer in operation.get("responses", {}).items()
    )
    return (
        f"<details><summary><b>{escape(method.upper())}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary><p>{escape(operation.get('description', ''))}</p>"
        f"<table>{parameters}</table>{body}<table>{answers}</table></details>"
    )


def _answer(answer: dict[str, Any]) -> str:
    content = answer.get("content", {}).values()
    types = [_type(item.get("schema", {})) for item in content]
    return ", ".join([answer.get("description", ""), *filter(None, types)])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "")
