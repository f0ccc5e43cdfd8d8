"""Logging: structlog, one line per event; JSON in production, readable text elsewhere.

Values may be a stranger's words (a path, a name): control characters in them are escaped, so that none makes a line of
its own or speaks to a terminal. JSON escapes them anyway.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog


def configure_logging(level: Literal["debug", "info", "warning", "error"], *, as_json: bool) -> None:
    """Configure structlog for this process. Lines go to standard error; call once at a composition root."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        # The default formatter prints local variables: secrets among them, and slowly.
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    processors.append(structlog.processors.format_exc_info if as_json else escape_values)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def escape_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: text values without control characters; exceptions are the renderer's."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
