"""What is said: tables for people or JSON for programs on stdout; news and errors on stderr."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from backend.commands.session import Output, Session

T = TypeVar("T")
Columns = Mapping[str, Callable[[T], object]]
"""Heading → what stands in the cell. A heading that begins with ">" is aligned to the right."""

WIDTH_OF_A_FILE = 240
_DISPENSABLE = ("id", "from", "created")
"""Left out of a table that is wider than its terminal, in this order: names and numbers say as much, JSON has all."""
_KIB = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def make_console(*, stderr: bool = False) -> "Console":
    """A console as wide as its terminal; into a file or pipe as wide as lines need, so that none breaks."""
    from rich.console import Console

    stream: IO[str] = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDTH_OF_A_FILE, highlight=False)


def show_list(session: "Session", items: Iterable[T], columns: Columns[T]) -> None:
    """Rows of a table, or a JSON array of everything that is known of each."""
    found = list(items)
    if session.output == "json":
        write_json(found)
        return
    console = make_console()
    shown = dict(columns)
    for heading in _DISPENSABLE:
        if _width(console, _table(found, shown)) > console.width and len(found) > 0:
            shown.pop(heading, None)
    console.print(_table(found, shown))


def _width(console: "Console", table: "Table") -> int:
    """Characters it takes when no line is broken."""
    return table.__rich_measure__(console, console.options.update(max_width=10_000)).maximum


def _table(items: Sequence[T], columns: Columns[T]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in columns:
        right = heading.startswith(">")
        justify: Literal["right", "left"] = "right" if right else "left"
        table.add_column(heading.removeprefix(">"), justify=justify, overflow="fold", no_wrap=right)
    for item in items:
        table.add_row(*(Text(cell(value(item))) for value in columns.values()))
    return table


def show_one(session: "Session", item: T, lines: Columns[T]) -> None:
    """Named lines, or a JSON object of everything that is known."""
    if session.output == "json":
        write_json(item)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for heading, value in lines.items():
        text = cell(value(item))
        if text:
            table.add_row(heading, Text(text))
    make_console().print(table)


def write_json(value: object) -> None:
    """Indented JSON on stdout. Money stays exact: decimals are strings."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def news(line: str) -> None:
    """One line on stderr about what happens."""
    typer.echo(line, err=True)


def tell_error(
    detail: str, *, output: "Output", hint: str | None = None, code: str | None = None, evidence: Sequence[str] = ()
) -> None:
    """An error on stderr: sentences, or with JSON output one object."""
    if output == "json":
        import msgspec

        problem = {"error": detail, "code": code, "hint": hint, "evidence": list(evidence)}
        typer.echo(msgspec.json.encode({key: value for key, value in problem.items() if value}).decode(), err=True)
        return
    typer.secho(f"error: {detail}", err=True, fg="red")
    if hint:
        typer.echo(f"hint: {hint}", err=True)
    for line in evidence:
        typer.echo(f"  {line}", err=True)


def cell(value: object) -> str:
    """Any value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    return str(value)


def decimal(value: Decimal | str) -> str:
    """An exact decimal without exponent or trailing zeros."""
    text = format(Decimal(value), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def money(value: Decimal | str) -> str:
    """US dollars, exact."""
    text = decimal(value)
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}"


def size(count: int) -> str:
    """Bytes in binary units."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIB:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KIB
    return f"{amount:.1f} TiB"


def duration(start: datetime | None, end: datetime | None) -> str:
    """From `start` to `end`, or until now; empty when it has not begun."""
    if start is None:
        return ""
    return seconds(((end or datetime.now(UTC)) - start).total_seconds())


def seconds(count: float) -> str:
    """A duration in the two units that matter."""
    if count < _MINUTE:
        return f"{count:.1f} s"
    whole = int(count)
    for large, small, big, little in ((_DAY, _HOUR, "d", "h"), (_HOUR, _MINUTE, "h", "m"), (_MINUTE, 1, "m", "s")):
        if whole >= large:
            return f"{whole // large} {big} {whole % large // small} {little}"
    raise AssertionError("a minute or more")


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "",
    bool: lambda value: "yes" if value else "no",
    datetime: lambda value: value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    Decimal: decimal,
    float: lambda value: f"{value:g}",
}


def standing(status: str, reason: str) -> str:
    """A status with its reason, where that says more."""
    return f"{status}: {reason}" if reason not in ("", status) else status


def shortened(mapping: Mapping[str, Any], *, decimals: int = 4) -> dict[str, str]:
    """Figures by name, rounded for a table."""
    return {key: f"{value:.{decimals}f}" if isinstance(value, float) else cell(value) for key, value in mapping.items()}
