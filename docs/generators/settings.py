"""Every setting, from `backend/core/settings.py`: variable, type, default, what it is."""

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from backend.core import settings
from docs.generators.schemas import table
from docs.generators.sources import attribute_docs

PREFIX = "MODELYARD_"


def pages() -> dict[str, str]:
    """`reference/settings.md`."""
    groups: list[str] = []
    general: list[tuple[str, ...]] = []
    words = attribute_docs(settings.Settings)
    for name, field in settings.Settings.model_fields.items():
        group = field.annotation
        if inspect.isclass(group) and issubclass(group, BaseModel):
            groups.append(
                f"## {name}\n\n{inspect.getdoc(group)}\n\n{table(_HEADINGS, list(_rows(group, f'{name}__')))}"
            )
        else:
            general.append(_row(name, field, words.get(name, "")))
    return {"reference/settings.md": f"{_INTRODUCTION}## General\n\n{table(_HEADINGS, general)}{''.join(groups)}"}


_HEADINGS = ("variable", "type", "default", "what it is")
_INTRODUCTION = """# Settings

Every process reads its settings from the environment when it starts; nothing is read later, and there is no
configuration file. Groups nest with two underscores. A value that is not understood stops the process and names the
variable. `modelyard up` makes passwords, tokens and addresses of its embedded servers itself and gives each process
only those it needs, so on one machine you rarely set more than the home and the ports.

"""


def _rows(group: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    words = attribute_docs(group)
    for name, field in group.model_fields.items():
        yield _row(f"{prefix}{name}", field, words.get(name, ""))


def _row(name: str, field: FieldInfo, words: str) -> tuple[str, ...]:
    signs = {"ge": "≥", "le": "≤", "gt": ">", "lt": "<"}
    bounds = [
        f"{sign} {getattr(each, key)}" for each in field.metadata for key, sign in signs.items() if hasattr(each, key)
    ]
    meaning = "; ".join(filter(None, [words.rstrip("."), *bounds]))
    return f"`{PREFIX}{name.upper()}`", _type(field.annotation), _default(field), meaning


def _type(annotation: object) -> str:
    if get_origin(annotation) in {Union, types.UnionType}:
        return " or ".join(_type(each) for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(annotation))
    named = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Path: "path", SecretStr: "secret"}
    return named.get(annotation, str(annotation))  # type: ignore[call-overload, no-any-return]  # any annotation may come


def _default(field: FieldInfo) -> str:
    return "not set" if field.default is None else f"`{field.default}`"
