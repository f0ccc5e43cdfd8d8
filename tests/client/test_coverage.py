"""The client has a method for every operation of the OpenAPI document, or a reason why not."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

import modelyard
from backend.core.openapi import PUBLIC

PACKAGE = Path(modelyard.__file__).parent
VERBS = {
    "get": "GET",
    "get_bytes": "GET",
    "stream": "GET",
    "pages": "GET",
    "post": "POST",
    "patch": "PATCH",
    "put": "PUT",
    "put_bytes": "PUT",
    "delete": "DELETE",
}
"""Methods of `Transport`, and what they send."""
SESSION = "of a browser's session: the client acts with an API key"
OPERATOR = "for operators, who have a session and never an API key; `modelyard admin` does the same on the machine"
WITHOUT = {
    "POST /api/v1/session": SESSION,
    "DELETE /api/v1/session": SESSION,
    "POST /api/v1/me/password": SESSION,
}


def sent() -> Iterator[str]:
    """`GET /api/v1/jobs/{}` of every request that the client's code can send."""
    for path in PACKAGE.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                yield from _sent_by(function)


def _sent_by(function: ast.FunctionDef) -> Iterator[str]:
    named = {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            first = node.args[0]
            address = _written(named.get(first.id, first) if isinstance(first, ast.Name) else first)
            if node.func.attr in VERBS and address.startswith(PUBLIC):
                yield f"{VERBS[node.func.attr]} {address}"


def _written(node: ast.expr) -> str:
    """An address with `{}` for what is filled in; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return ""


@pytest.mark.integration
def test_every_operation_has_a_method(app: FastAPI) -> None:
    exists = {
        f"{method.upper()} {path}": re.sub(r"{\w+}", "{}", f"{method.upper()} {path}")
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if path.startswith(PUBLIC)
    }
    known = set(sent())
    reasons = WITHOUT | {name: OPERATOR for name in exists if name.split(" ")[1].startswith(f"{PUBLIC}admin/")}
    assert {name for name, shape in exists.items() if shape not in known} == set(reasons)
    assert known <= set(exists.values())  # and none asks for what is not there
