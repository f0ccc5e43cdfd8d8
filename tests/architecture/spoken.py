"""Which English sentences the control plane and the workers hand to people, read from their code.

A sentence is handed over as the detail or hint of an error, or under one of the names of `SPOKEN`: an argument, an
assignment, a key. It may pass through variables, conditions and functions of the same room; each f-string becomes a
template, `there is no job %(job_id)s`.
"""

import ast
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from string import ascii_letters

import backend
from backend.core.errors import DomainError
from tests.architecture.test_code import sources

SPOKEN = {
    "objections",
    "error",
    "last_error",
    "loss_reason",
    "stop_reason",
    "reason",
    "status_reason",
    "disabled_reason",
    "hint",
    "why",
    "problem",
    "message",
    "fault",
}
ROOMS = ("backend", "worker")
UNHEARD = (
    "backend/cli.py",
    "backend/commands/",
    "backend/platform/",
    "backend/core/settings.py",
    "worker/localhost/",
    "backend/administration.py",
    "backend/core/crypto.py",
    "worker/localhost/",
    "worker/serving/",
)
"""What never reaches a page: command lines, processes on the platform's own machine, replicas' answers to callers."""
FIRST_SAYS = {"ValueError", "FileError", "Failed", "Stopped", "ProviderError", "CapacityError"} | {
    "AddressRefused",
    "ArtifactInvalid",
    "QuotaExceeded",
    "ResultUnusable",
}
_DEPTH = 6
Function = ast.FunctionDef | ast.AsyncFunctionDef


def error_classes() -> list[type[DomainError]]:
    """Every error with a code of its own."""
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        importlib.import_module(module.name)
    found: list[type[DomainError]] = []
    waiting: list[type[DomainError]] = [DomainError]
    while waiting:
        children = waiting.pop().__subclasses__()
        waiting += children
        found += [one for one in children if "title" in vars(one) and one.__module__.startswith("backend.")]
    return found


def placeholder(node: ast.expr) -> str:
    """The name of a value in a template: the last word of its expression."""
    found = "value"
    if isinstance(node, ast.Name):
        found = node.id
    elif isinstance(node, ast.Attribute):
        found = node.attr
    elif isinstance(node, ast.Subscript):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        found = key if isinstance(key, str) else placeholder(node.value)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of_text = isinstance(node.func.value, ast.Constant)  # ", ".join(names)
        found = placeholder(node.args[0] if of_text else node.func.value)
    elif isinstance(node, ast.Call):
        found = placeholder(node.args[0]) if node.args else found
    else:
        inner = (placeholder(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr))
        found = next(inner, found)
    return found


def template(node: ast.JoinedStr) -> str:
    """An f-string as a template; a name that stands twice is numbered from its second place on."""
    text = ""
    seen: dict[str, int] = defaultdict(int)
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value).replace("%", "%%")
        elif isinstance(part, ast.FormattedValue):
            name = placeholder(part.value)
            seen[name] += 1
            text += f"%({name}{seen[name] if seen[name] > 1 else ''})s"
    return text


class Room:
    """All functions of some packages, by name, with the names of their parameters."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.functions: dict[str, list[Function]] = defaultdict(list)
        self.parameters: dict[str, list[list[str]]] = defaultdict(list)
        self.trees: list[tuple[str, ast.Module]] = []
        for name in names:
            self.trees += [(str(path), tree) for path, tree in sources(name)]
        for _, tree in self.trees:
            self._know(tree)

    def _know(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, Function):
                self.functions[node.name].append(node)
                self.parameters[node.name].append([one.arg for one in node.args.args if one.arg not in {"self", "cls"}])
            if isinstance(node, ast.ClassDef):
                fields = [
                    each.target.id
                    for each in node.body
                    if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
                ]
                init = [one for one in node.body if isinstance(one, Function) and one.name == "__init__"]
                names = [one.arg for one in init[0].args.args[1:]] if init else fields
                self.parameters[node.name].append(names)
                for one in init:
                    self.functions[node.name].append(one)

    def strings(self, node: ast.expr | None, inside: ast.AST, depth: int = _DEPTH) -> Iterator[str]:
        """The texts that an expression may be."""
        if node is None or depth == 0:
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.replace("%", "%%")
        elif isinstance(node, ast.JoinedStr):
            yield template(node)
            values = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
            for one in values:
                yield from self.strings(one, inside, depth - 1)
        elif isinstance(node, ast.IfExp | ast.BoolOp):
            for one in [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values:
                yield from self.strings(one, inside, depth)
        elif isinstance(node, ast.Name):
            yield from self._assigned(node.id, inside, depth - 1)
        elif isinstance(node, ast.Call):
            yield from self._returned(node, depth - 1)

    def _assigned(self, name: str, inside: ast.AST, depth: int) -> Iterator[str]:
        for node in ast.walk(inside):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name:
                        yield from self.strings(node.value, inside, depth)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        for one, value in zip(target.elts, node.value.elts, strict=False):
                            if isinstance(one, ast.Name) and one.id == name:
                                yield from self.strings(value, inside, depth)

    def _returned(self, call: ast.Call, depth: int) -> Iterator[str]:
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        if name == "str" or name not in self.functions:
            return
        for function in self.functions[name]:
            returns = ast.unparse(function.returns) if function.returns else ""
            if "str" not in returns or returns.startswith("dict"):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Return):
                    yield from self.strings(node.value, function, depth)

    def said(self) -> Iterator[tuple[str, str]]:
        """(file, text) of every sentence that is handed over."""
        errors = {one.__name__ for one in error_classes()} | FIRST_SAYS
        for path, tree in self.trees:
            if any(each in path for each in UNHEARD):
                continue
            for inside, node in _within(tree):
                for value in self._handed(node, errors):
                    for text in self.strings(value, inside):
                        yield path, text

    def _handed(self, node: ast.AST, errors: set[str]) -> Iterator[ast.expr]:
        if isinstance(node, ast.Assign):
            names = [getattr(one, "attr", getattr(one, "id", "")) for one in node.targets]
            if SPOKEN & set(names):
                yield node.value
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in SPOKEN:
                    yield value
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name == "append" and getattr(getattr(node.func, "value", None), "id", "") in SPOKEN:
                yield node.args[0]
            if name in errors and node.args:
                yield node.args[0]
            places = {at for each in self.parameters[name] for at, one in enumerate(each) if one in SPOKEN}
            yield from (each for at, each in enumerate(node.args) if at in places)
            yield from (each.value for each in node.keywords if each.arg in SPOKEN)


def _within(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node with the innermost function around it."""
    waiting: list[tuple[ast.AST, ast.AST]] = [(tree, tree)]
    while waiting:
        inside, node = waiting.pop()
        yield inside, node
        within = node if isinstance(node, Function) else inside
        waiting += [(within, child) for child in ast.iter_child_nodes(node)]


def is_sentence(text: str) -> bool:
    """Whether a template says anything besides its values."""
    bare = text
    while "%(" in bare:
        head, _, tail = bare.partition("%(")
        bare = head + " " + tail.partition(")s")[2]
    return (" " in text.strip() or text.isalpha()) and any(letter in ascii_letters for letter in bare)


@cache
def spoken() -> dict[str, str]:
    """Every sentence, with the file where it is said first."""
    found: dict[str, str] = {}
    for one in error_classes():
        for text in (one.title, one.remedy):
            found.setdefault(text.replace("%", "%%"), one.__module__)
    for path, text in Room(ROOMS).said():
        if is_sentence(text):
            found.setdefault(text, path)
    return found
