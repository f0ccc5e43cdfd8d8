"""Logging: structlog, one line per event; JSON in production, readable text elsewhere."""

import logging
import sys
from typing import Literal

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
    if as_json:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
