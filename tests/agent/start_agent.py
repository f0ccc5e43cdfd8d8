"""The agent with entrypoints of the tests besides its own, as a process."""

import os
import sys
from pathlib import Path

import msgspec

from worker.agent import __main__ as command
from worker.agent.settings import AgentSettings, settings_from

JOBS = Path(__file__).parent / "jobs"


def _settings(environment: "os._Environ[str]", folder: Path) -> AgentSettings:
    settings = settings_from(environment, folder)
    names = {path.stem for path in JOBS.glob("*.py")}
    return msgspec.structs.replace(
        settings, entrypoints=settings.entrypoints | names, standby_entrypoints=frozenset(names), code_roots=(JOBS,)
    )


def main() -> None:
    """Run the agent's own main with these settings."""
    command.settings_from = _settings  # type: ignore[attr-defined,assignment] # the one seam: more entrypoints
    sys.exit(command.main())
