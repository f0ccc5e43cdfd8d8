"""A three-minute outage of the API loses no training and no report: `tests/chaos/test_api_outage.py` at full length.

Run `python -m benchmarks.api_outage [SECONDS]`; the last line is one JSON object. Exit 1 where something is lost.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the test in a process of its own, and print the JSON line."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 180.0
    words = ["-m", "pytest", "-p", "no:cacheprovider", "-n0", "-q", "tests/chaos/test_api_outage.py"]
    environment = {**os.environ, "MODELYARD_OUTAGE_SECONDS": str(seconds)}
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=False)
    met = ended.returncode == 0
    result = {
        "name": "api_outage",
        "value": seconds,
        "unit": "s without an API",
        "against": "every report of the agent, and the provider's own log",
        "ratio": 1.0,
        "goal": 180,
        "stretch": 180,
        "met": met,
    }
    print(json.dumps(result))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
