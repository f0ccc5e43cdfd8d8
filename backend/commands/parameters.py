"""Options that several commands share, and how `name=value` arguments are read."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

ProjectOption = Annotated[str, typer.Option("--project", "-p", help="project: id or name")]
ProjectFilter = Annotated[str | None, typer.Option("--project", "-p", help="only of this project: id or name")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="at most so many, newest first")]
TagsOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="may be repeated")]
WaitOption = Annotated[bool, typer.Option("--wait", help="wait for the end; a failure exits 1 with its evidence")]
InstanceTypeOption = Annotated[str, typer.Option(help="shape of the instance")]
MarketOption = Annotated[str, typer.Option(help="on-demand or spot")]
RuntimeOption = Annotated[int, typer.Option(min=1, help="longest run time in seconds")]
AttemptsOption = Annotated[int, typer.Option(min=1, help="tries after interruptions")]
KeepAliveOption = Annotated[int, typer.Option(min=0, help="seconds to keep the instance warm afterwards, billed")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="may be repeated; a dot reaches into a group"),
]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """`["a=1"]` as `{"a": "1"}`. Raises BadParameter."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"'{text}' is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def numbers(given: Sequence[str] | None, option: str) -> dict[str, float | int]:
    """`["a=1", "b=0.5"]` as `{"a": 1, "b": 0.5}`: whole numbers stay whole. Raises BadParameter."""
    found: dict[str, float | int] = {}
    for name, text in pairs(given, option).items():
        try:
            found[name] = int(text) if text.lstrip("+-").isdecimal() else float(text)
        except ValueError:
            raise typer.BadParameter(f"'{text}' is not a number", param_hint=option) from None
    return found


def nested(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """`["epochs=3", "augmentation.enabled=false"]` as nested JSON; what is not JSON is text. Raises BadParameter."""
    found: dict[str, Any] = {}
    for path, text in pairs(given, option).items():
        *groups, name = path.split(".")
        place = found
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"'{group}' in '{path}' is a value, not a group", param_hint=option)
        try:
            place[name] = json.loads(text)
        except ValueError:
            place[name] = text
    return found
