"""Seconds of `modelyard up` from typing to ready: the first time on a home (initdb, migrations, seed) and again.

Run `python -m benchmarks.boot`; the last line is a JSON list. *Ready* is what the platform says itself: every service
answers. `run.json`, which the supervisor rewrites whenever a service changes its state, is read every few milliseconds:
so the table shows when each of them began to load, began, and was ready. Medians; exit 1 where a goal is missed.
"""

import json
import sys
import time
from statistics import median
from typing import Any

from backend.platform.home import read_run_state
from tests.fixtures.platform import RunningPlatform, new_running_platform

HOMES, BOOTS = 3, 3
GOALS = {"first": (6.0, 4.0), "again": (4.0, 3.0)}
"""Seconds: goal, stretch. The first boot makes a database cluster, which alone takes most of a second of both cores."""
LOOK_SECONDS = 0.005
Phases = dict[str, dict[str, float]]


def boot(platform: RunningPlatform) -> tuple[float, Phases]:
    """(seconds until ready, seconds at which each service entered each state)."""
    (platform.home / "run.json").unlink(missing_ok=True)
    seen: Phases = {}
    began = time.perf_counter()
    platform.start()
    while True:
        state = read_run_state(platform.home)
        now = time.perf_counter() - began
        for name, child in state.children.items() if state is not None else ():
            seen.setdefault(name, {}).setdefault(child.state, now)
        if state is not None and state.ready:
            return now, seen
        assert platform.process.poll() is None, platform.log.read_text()
        time.sleep(LOOK_SECONDS)


def print_phases(title: str, seconds: float, seen: Phases) -> None:
    """For people: when each service entered each state."""
    print(f"\n{title}: {seconds:.2f} s")
    print(f"{'service':12}{'loading':>10}{'starting':>10}{'ready':>10}")
    for name, states in seen.items():
        ready = states.get("ready", states.get("ended"))
        times = (states.get("loading"), states.get("starting"), ready)
        print(f"{name:12}" + "".join(f"{'' if one is None else f'{one:.2f}':>10}" for one in times))


def measure() -> dict[str, list[float]]:
    """Seconds of every boot."""
    found: dict[str, list[float]] = {"first": [], "again": []}
    for _ in range(HOMES):
        platform = new_running_platform()
        try:
            for number in range(1 + BOOTS):
                kind = "again" if number else "first"
                seconds, seen = boot(platform)
                found[kind].append(seconds)
                if number <= 1:
                    print_phases(kind, seconds, seen)
                platform.down()
        finally:
            platform.discard()
    return found


def line(kind: str, seconds: list[float]) -> dict[str, Any]:
    """One result."""
    goal, stretch = GOALS[kind]
    value = median(seconds)
    return {
        "name": f"boot_{kind}",
        "value": round(value, 2),
        "unit": "s, median",
        "against": f"a limit of {goal} s",
        "ratio": round(goal / value, 3),
        "goal": goal,
        "stretch": stretch,
        "met": value <= goal,
        "all": [round(one, 2) for one in seconds],
    }


def main() -> int:
    """Print the tables and the JSON lines."""
    found = measure()
    lines = [line(kind, found[kind]) for kind in ("first", "again")]
    print(json.dumps(lines))
    return 0 if all(one["met"] for one in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
