"""`python -m worker.agent --folder DIR`; see `worker.agent.settings` for its environment."""

import argparse
import logging
import os
import sys
from pathlib import Path

from worker.agent.agent import Agent, AlreadyHere
from worker.agent.settings import AgentSettingsMissing, settings_from


def main() -> int:
    """Exit status: 0 drained or over, 2 cannot start as told."""
    parser = argparse.ArgumentParser(prog="python -m worker.agent", description="Run this instance's agent.")
    parser.add_argument("--folder", type=Path, required=True, help="where assignments, cache and spool lie")
    folder: Path = parser.parse_args().folder
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return Agent(settings_from(os.environ, folder)).run()
    except (AgentSettingsMissing, AlreadyHere, PermissionError, ValueError) as error:
        sys.stderr.write(f"the agent cannot start: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
