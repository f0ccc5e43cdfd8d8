"""Which domain errors a route's own code can raise: its functions are read, and those that they call, and so on.

What is found is what the code says literally: `raise SomeError(…)`, in functions and methods that can be resolved by
name through the module that calls them. A method of an object that came out of another call is not followed.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

from backend.core.errors import DomainError

Function = Callable[..., Any]
_OURS = "backend."


def errors_of(function: Function) -> frozenset[type[DomainError]]:
    """All domain errors that `function`, or anything it calls in the backend, raises by name."""
    found: set[type[DomainError]] = set()
    seen: set[Function] = set()
    waiting = [function]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        raised, called = _read(each)
        found |= raised
        waiting += called
    return frozenset(found)


@cache
def _read(function: Function) -> tuple[frozenset[type[DomainError]], tuple[Function, ...]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return frozenset(), ()
    names = dict(getattr(inspect.unwrap(function), "__globals__", {}))
    names |= _instances(function, tree, names)
    raised: set[type[DomainError]] = set()
    called: list[Function] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            named = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            raised |= set(_errors(_resolve(named, names)))
        if isinstance(node, ast.Call):
            called += _functions(_resolve(node.func, names))
    return frozenset(raised), tuple(called)


def _errors(target: object) -> Iterator[type[DomainError]]:
    """A domain error, or what a function that makes one says it returns."""
    if isinstance(target, FunctionType):
        target = target.__globals__.get(str(target.__annotations__.get("return")), target.__annotations__.get("return"))
    if inspect.isclass(target) and issubclass(target, DomainError):
        yield target


def _instances(function: Function, tree: ast.AST, names: dict[str, Any]) -> dict[str, Any]:
    """Class of each local name that is annotated with, or assigned from, a class; `self` by its function's name."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            found[node.arg] = _resolve(node.annotation, names)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = _resolve(node.value.func, names)
    found["self"] = names.get(function.__qualname__.partition(".")[0])
    return {name: each for name, each in found.items() if inspect.isclass(each)}


def _functions(target: object) -> Iterator[Function]:
    """What runs when it is called, as far as it is the backend's."""
    if isinstance(target, FunctionType) and target.__module__.startswith(_OURS):
        yield target


def _resolve(node: ast.expr, names: dict[str, Any]) -> object:
    """The object that an expression names: `name`, `module.name`, `Class(…).method`."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value.func, names) if isinstance(node.value, ast.Call) else _resolve(node.value, names)
        if isinstance(owner, ModuleType) or inspect.isclass(owner):
            return getattr(owner, node.attr, None)
    return None
