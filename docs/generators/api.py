"""The HTTP API from its OpenAPI document: a page per tag, a section per route."""

import json
from typing import Any

from fastapi.routing import APIRoute

from backend.core.auth import PERMISSIONS
from docs.generators.application import application, errors_of, permission_of, routes
from docs.generators.schemas import Schema, Schemas, table

FOLDER = "reference/api"


def pages() -> dict[str, str]:
    """`reference/api/<tag>.md`, and `index.md` with all routes."""
    document = application().openapi()
    schemas = Schemas(document)
    by_tag: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    made = {f"{FOLDER}/index.md": _index(by_tag)}
    for tag, operations in by_tag.items():
        sections = "".join(_section(method, path, operation, schemas) for method, path, operation in operations)
        made[f"{FOLDER}/{slug(tag)}.md"] = f"# {tag.capitalize()}\n\n{sections}"
    return made


def slug(tag: str) -> str:
    """The name of a tag's page."""
    return tag.replace(" ", "-")


def _index(by_tag: dict[str, list[tuple[str, str, Schema]]]) -> str:
    parts = [_INTRODUCTION, _roles()]
    for tag, operations in by_tag.items():
        rows = [
            (
                f"[`{method} {path}`]({slug(tag)}.md#{anchor(operation)})",
                _first_line(operation),
                _permission(method, path),
            )
            for method, path, operation in operations
        ]
        parts += [f"## {tag.capitalize()}\n\n", table(("route", "what it does", "permission"), rows)]
    return "".join(parts)


_INTRODUCTION = """# HTTP API

Send `Authorization: Bearer KEY` with every request; the dashboard's cookie works too. A key belongs to one
organization, and what belongs to another answers 404.

- **Bodies** are JSON in and out. Fields that a route does not know are refused.
- **Times** are RFC 3339 in UTC. **Money** and quantities are decimal strings, exact to the last digit.
- **Lists** have `?limit=` (1 to 200) and `?cursor=`; the answer has `items` and `next_cursor`, null on the last page.
- **Errors** are problem documents (RFC 9457, `application/problem+json`): `status`, `title`, `detail`, and a stable
`code`
  to program against; often a `hint`.
- **Repeating safely**: send an `Idempotency-Key` of your own with any `POST`, `PATCH` or `DELETE`. The same key gets
the
  same answer for a day, and the work is done once.

These codes can come from any route and are not repeated below:

| status | code | when |
| --- | --- | --- |
| 401 | `unauthorized` | no credential, or one that is unknown, expired or revoked |
| 403 | `forbidden` | the role or the scopes of the credential lack the route's permission |
| 413 | `too_large` | the body is longer than the route takes |
| 422 | `invalid_request` | a field is missing, unknown or out of range; `errors` names each |
| 429 | `too_many` and others | a rate or quota is used up; `Retry-After` says when to come back |
| 503 | `unavailable` | the database did not answer; nothing was changed, and trying again helps |

The codes named at a route are those that its own code raises. Those that a job kind raises while it checks its inputs
come on top.

"""


def _roles() -> str:
    rows = [(f"`{role}`", ", ".join(f"`{each}`" for each in sorted(allowed))) for role, allowed in PERMISSIONS.items()]
    return "## Roles and permissions\n\n" + table(("role", "permissions"), rows)


def _section(method: str, path: str, operation: Schema, schemas: Schemas) -> str:
    """One route."""
    answers = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
    status, answer = next(iter(answers.items()))
    parts = [
        f"## {_title(operation)} {{ #{anchor(operation)} }}\n\n",
        f"`{method} {path}` · permission: {_permission(method, path)} · answers {status}\n\n",
        f"{operation.get('description', '')}\n\n",
        _parameters(operation, schemas),
        _body(operation, schemas),
        _answer(answer, schemas),
        _errors(_route(method, path)),
        f"```sh\n{curl(method, path, operation, schemas)}\n```\n\n",
    ]
    return "".join(parts)


def _parameters(operation: Schema, schemas: Schemas) -> str:
    rows = [
        (
            f"`{each['name']}`",
            each["in"],
            schemas.type_of(each["schema"]),
            "required" if each.get("required") else _default(each["schema"]),
            each.get("description") or each["schema"].get("description") or "",
        )
        for each in operation.get("parameters", [])
    ]
    return table(("parameter", "in", "type", "default", "what it is"), rows)


def _default(schema: Schema) -> str:
    return "" if schema.get("default") is None else f"`{schema['default']}`"


def _body(operation: Schema, schemas: Schemas) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return "".join(f"The body is `{kind}`.\n\n" for kind in content)
    rows = [
        (f"`{name}`", kind, need, meaning)
        for name, kind, need, meaning in schemas.rows(content["application/json"]["schema"])
    ]
    return table(("field", "type", "default", "what it is"), rows)


def _answer(answer: Schema, schemas: Schemas) -> str:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    rows = [(f"`{name}`", kind, meaning) for name, kind, _, meaning in schemas.rows(schema)]
    if not rows:
        return ""
    inner = table(("field", "type", "what it is"), rows).replace("\n", "\n    ").rstrip()
    return f'??? note "Fields of the answer"\n\n    {inner}\n\n'


def _errors(route: APIRoute) -> str:
    rows = [
        (str(status), f"[`{code}`](../errors.md#{code})", title) for status, code, title in sorted(errors_of(route))
    ]
    return table(("status", "code", "title"), rows)


def curl(method: str, path: str, operation: Schema, schemas: Schemas) -> str:
    """A command that asks this route; ids and names in it are examples."""
    for each in operation.get("parameters", []):
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", str(schemas.example(each["schema"], each["name"])))
    lines = [f'curl -sS{"" if method == "GET" else f" -X {method}"} "$API{path}"', '-H "Authorization: Bearer $KEY"']
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        value = schemas.example(content["application/json"]["schema"])
        lines += ['-H "Content-Type: application/json"', f"-d '{json.dumps(value)}'"]
    elif content:
        lines.append("--data-binary @part.bin")
    return " \\\n     ".join(lines)


def _route(method: str, path: str) -> APIRoute:
    known = routes()
    return next(known[key] for key in known if key[0] == method and _same(key[1], path))


def _same(template: str, path: str) -> bool:
    """OpenAPI's path has no converters."""
    return template.replace(":path}", "}") == path


def _permission(method: str, path: str) -> str:
    named = permission_of(_route(method, path))
    return f"`{named}`" if named in {"read", "write", "manage", "billing", "invoke"} else named


def anchor(operation: dict[str, Any]) -> str:
    """The section's anchor: stable as long as the function's name is."""
    return str(operation["summary"]).lower().replace(" ", "-")


def _title(operation: dict[str, Any]) -> str:
    return str(operation["summary"]).capitalize()


def _first_line(operation: dict[str, Any]) -> str:
    return str(operation.get("description", "")).split("\n")[0]
