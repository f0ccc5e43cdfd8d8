"""A home of small processes under the real supervisor.

Run as `python -m tests.platform.small_home HOME SCENARIO [PORT]`.
"""

import sys
import time
from pathlib import Path

from backend.platform.children import ChildSpec
from backend.platform.home import RunState
from backend.platform.ports import Port
from backend.platform.up import run_home, say

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def shell(name: str, script: str, **more: object) -> ChildSpec:
    return ChildSpec(name=name, command=["/bin/sh", "-c", script], environment=ENVIRONMENT, **more)  # type: ignore[arg-type]  # test brevity


def specs(home: Path, scenario: str) -> list[ChildSpec]:
    """`first` ← `once` ← `last`: `last` has children of its own, one of them in another session."""
    order = home / "order"
    trap = 'trap "echo {0} >> {1}; exit 0" TERM; : > {2}; while :; do sleep 0.05; done'
    begun = home / "begun"
    stubborn = f'trap "" TERM; : > {begun}; while :; do sleep 0.05; done'
    lasting = f"sleep 300 & setsid sleep 300 & {trap.format('last', order, begun)}"
    if scenario == "bad-start":
        lasting = "echo cannot open the thing; exit 3"
    return [
        shell("first", trap.format("first", order, home / "first-begun")),
        shell("once", f"echo once >> {order}", one_shot=True, after=["first"]),
        shell(
            "last",
            stubborn if scenario == "stubborn" else lasting,
            after=["once"],
            ready=begun.exists,
            stop_grace_seconds=0.5,
        ),
    ]


def on_ready(state: RunState) -> int | None:
    """Tell it; in the scenario `exit`, end everything with status 7."""
    say(f"ready {state.supervisor_pid}")
    if sys.argv[2] == "exit":
        time.sleep(0.2)
        return 7
    return None


def main() -> int:
    home = Path(sys.argv[1])
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    port = Port(name="API", host="127.0.0.1", number=number, option="--api-port or MODELYARD_API__PORT")
    return run_home(
        home,
        specs=lambda: specs(home, sys.argv[2]),
        ports={"api": port},
        addresses={"api": f"http://127.0.0.1:{number}"},
        on_ready=on_ready,
    )


if __name__ == "__main__":
    sys.exit(main())
