"""The command line from typer's own tree: a page per group of commands, and an overview."""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from backend.cli import app
from docs.generators.schemas import table

FOLDER = "reference/cli"
Command = Any
"""A command of the click that typer vendors, which has no types of its own."""


def pages() -> dict[str, str]:
    """`reference/cli/index.md`, and a page per group (`jobs`, `endpoints`, …)."""
    root: Command = typer.main.get_command(app)
    groups = {name: each for name, each in root.commands.items() if hasattr(each, "commands")}
    single = {name: each for name, each in root.commands.items() if name not in groups}
    made = {f"{FOLDER}/index.md": _index(root, groups, single)}
    for name, group in groups.items():
        sections = "".join(_section(f"modelyard {name} {each}", command) for each, command in group.commands.items())
        made[f"{FOLDER}/{name}.md"] = f"# modelyard {name}\n\n{_first(group)}\n\n{sections}"
    return made


def _index(root: Command, groups: dict[str, Command], single: dict[str, Command]) -> str:
    rows = [
        (f"[`modelyard {name} {each}`]({name}.md#{anchor(f'modelyard {name} {each}')})", _first(command))
        for name, group in groups.items()
        for each, command in group.commands.items()
    ]
    panels: dict[str, list[str]] = {}
    for name, command in single.items():
        panels.setdefault(str(command.rich_help_panel or "Commands"), []).append(
            _section(f"modelyard {name}", command, level=3)
        )
    return "".join(
        [
            _INTRODUCTION,
            "## Options of every command\n\n",
            _options(root),
            "## Resources\n\n",
            table(("command", "what it does"), rows),
            *(f"## {panel}\n\n{''.join(sections)}" for panel, sections in panels.items()),
        ]
    )


_INTRODUCTION = """# Command line

`modelyard` starts the platform and is a client of its API. On the machine where the platform runs it finds address and
owner's key in the home; elsewhere give them by option or variable. Results go to stdout, everything else to stderr.

Exit status: 0 done; 1 the platform or the job said no, told on stderr with the way out; 2 the command line is wrong.
Ids or names are accepted everywhere, and `name:number` for versions.

"""


def _section(line: str, command: Command, *, level: int = 2) -> str:
    usage = " ".join([line, *_usage(command)])
    return "".join(
        [
            f"{'#' * level} {line} {{ #{anchor(line)} }}\n\n",
            f"{(command.help or '').strip()}\n\n",
            f"```text\n{usage}\n```\n\n",
            _arguments(command),
            _options(command),
        ]
    )


def _usage(command: Command) -> list[str]:
    words = ["[OPTIONS]"] if any(each.param_type_name == "option" for each in command.params) else []
    for each in command.params:
        if each.param_type_name == "argument":
            word = f"{each.name}{'...' if each.nargs != 1 else ''}".upper()
            words.append(word if each.required else f"[{word}]")
    return words


def _arguments(command: Command) -> str:
    rows = [
        (f"`{each.name.upper()}`", "required" if each.required else "", each.help or "")
        for each in command.params
        if each.param_type_name == "argument"
    ]
    return table(("argument", "", "what it is"), rows)


def _options(command: Command) -> str:
    rows = [
        (
            ", ".join(f"`{word}`" for word in [*each.opts, *each.secondary_opts]),
            _takes(each),
            _default(each),
            _help(each),
        )
        for each in command.params
        if each.param_type_name == "option" and "--help" not in each.opts and not each.hidden
    ]
    return table(("option", "takes", "default", "what it is"), rows)


def _takes(option: Command) -> str:
    if option.is_flag:
        return "nothing"
    kind = option.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    (inner,) = get_args(kind) or (kind,)
    words = {str: "text", int: "number", float: "number", Path: "path", datetime: "time"}
    named = f"`{option.metavar}`" if option.metavar else words[inner]
    return f"{named}, repeatable" if option.multiple else named


def _default(option: Command) -> str:
    if option.required:
        return "required"
    shown = option.default
    return "" if shown in (None, False, (), []) or callable(shown) else f"`{shown}`"


def _help(option: Command) -> str:
    variable = option.envvar
    return f"{option.help or ''}{f' (`{variable}`)' if variable else ''}"


def _first(command: Command) -> str:
    return (command.help or "").strip().split("\n")[0]


def anchor(line: str) -> str:
    """The anchor of a command's section."""
    return line.replace(" ", "-")
