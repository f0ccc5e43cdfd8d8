"""The root of the command: global options wherever they stand, and errors as sentences with a way out."""

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from modelyard.errors import ModelyardError

GLOBAL_OPTIONS = frozenset({"--output", "-o", "--api-url", "--api-key", "--gateway-url"})


class Root(TyperGroup):
    """`modelyard jobs list --output json` means `modelyard --output json jobs list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer vendors its click
        """Read the command line, global options first."""
        return list(super().parse_args(ctx, globals_first(args)))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run the command; errors of the client end it with status 1."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            from modelyard.errors import ModelyardError

            if not isinstance(error, ModelyardError):
                raise
            _tell(ctx, error)
            raise typer.Exit(1) from error


def globals_first(args: list[str]) -> list[str]:
    """The same arguments with global options in front; nothing after `--` is touched."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in GLOBAL_OPTIONS:
            front += [word, *([value] if (value := next(words, None)) is not None else [])]
        elif word.partition("=")[0] in GLOBAL_OPTIONS:
            front.append(word)
        else:
            rest.append(word)
    return front + rest


def _tell(context: Any, error: "ModelyardError") -> None:  # noqa: ANN401 - as above
    from backend.commands.output import tell_error
    from backend.commands.session import session_of
    from modelyard.errors import ApiError, JobDidNotComplete

    output = session_of(context).output
    if isinstance(error, ApiError):
        tell_error(error.detail, output=output, hint=error.hint, code=error.code, evidence=_fields(error))
    elif isinstance(error, JobDidNotComplete):
        failure = error.failure or {}
        evidence = [f"class: {failure['failure_class']}"] if failure.get("failure_class") else []
        if failure.get("peak_memory_bytes"):
            from backend.commands.output import size

            evidence.append(f"peak memory: {size(failure['peak_memory_bytes'])}")
        evidence += [f"| {line}" for line in failure.get("log_tail", [])]
        tell_error(str(error), output=output, hint=failure.get("hint"), code=error.status, evidence=evidence)
    else:
        tell_error(str(error), output=output)


def _fields(error: Any) -> list[str]:  # noqa: ANN401 - an ApiError, imported late
    """Where a request was wrong, when it was so in more than one place; what was wrong with which file."""
    found = error.problem.get("errors")
    if not isinstance(found, list):
        return []
    lines = [
        ": ".join(str(part) for part in (item.get("field") or item.get("file") or item.get("path"), item.get("message"))
                  if part)
        for item in found
        if isinstance(item, dict)
    ]  # fmt: skip
    return lines if len(lines) > 1 else []
