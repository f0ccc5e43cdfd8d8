"""Training steps/s in the platform against the same loop in bare PyTorch.

Run `python -m benchmarks.training_overhead`; the last line is a JSON list of two. What is compared, in rounds of
40 steps that take turns on one machine (the others are stopped meanwhile, SIGSTOP):

platform   the platform's trainer as a job of a real agent: in its sandbox (namespaces, system call filter, control
           groups), metrics and progress told and reported, checkpoints written, uploaded and heard at the default
           interval, the agent heartbeating at its default rhythm to a control plane that answers over HTTP
bare       the same model, augmentation, optimizer and precision as one writes it by hand, as a plain process, on as
           many threads as the platform's trainer takes
threads    the same on torch's default number of threads

The ratio is of total steps/s over all rounds but the first of each, checkpoints included; beside it stands the ratio of
CPU seconds per step, which other work on the machine disturbs less. The first line's goal counts; the second is told
(decision 11: small steps take one thread). Exit 1 where the goal is missed.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from backend.core.wire import CheckpointSaved, Started
from benchmarks.overhead_loops import Round, trainer_threads
from tests.agent.conftest import attempt
from tests.agent.control_server import TOKEN, ControlServer
from worker.agent import __main__ as command
from worker.agent.settings import AgentSettings, settings_from

ROUNDS = 40
THREADS_ROUNDS = 8
"""Fewer: on a machine that does other work, many threads take a minute for what one does in seconds."""
GOAL = 0.98
HEARTBEAT_SECONDS = 5.0
ENTRYPOINT = "overhead_loops"
ROOT = Path(__file__).parents[1]
WAIT_SECONDS = 300.0


def agent_main() -> None:
    """The agent, with the benchmark's loop among its entrypoints."""

    def settings(environment: "os._Environ[str]", folder: Path) -> AgentSettings:
        found = settings_from(environment, folder)
        return msgspec.structs.replace(
            found, entrypoints=found.entrypoints | {ENTRYPOINT}, code_roots=(Path(__file__).parent,)
        )

    command.settings_from = settings  # type: ignore[attr-defined,assignment]  # the one seam: one more entrypoint
    sys.exit(command.main())


class Loop:
    """A loop's process, stopped but for its turns, and the file of its rounds."""

    def __init__(self, pid: int, file: Path) -> None:
        self._process = psutil.Process(pid)
        self._file = file
        self.wait()

    def wait(self) -> None:
        """Until it has stopped itself."""
        until = time.monotonic() + WAIT_SECONDS
        while self._process.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < until, "a loop does not come to its end"
            time.sleep(0.02)

    def turn(self) -> None:
        """One round."""
        self._process.resume()
        time.sleep(0.02)
        self.wait()

    def rounds(self) -> list[Round]:
        """What it wrote down."""
        return [msgspec.json.decode(line, type=Round) for line in self._file.read_bytes().splitlines()]


@contextmanager
def platform_loop(folder: Path, cpu_count: float) -> Iterator[tuple[Loop, ControlServer, str]]:
    """The platform's loop under a real agent."""
    control = ControlServer()
    control.heartbeat_seconds = HEARTBEAT_SECONDS
    control.start()
    limits: dict[str, Any] = {"memory_limit_bytes": 4 << 30, "process_limit": 512, "disk_limit_bytes": 20 << 30}
    wanted = attempt(ENTRYPOINT, cpu_count=cpu_count, max_runtime_seconds=3600.0, **limits)
    control.want(wanted)
    agent = subprocess.Popen(
        [sys.executable, "-c", "from benchmarks.training_overhead import agent_main; agent_main()", "--folder", folder],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MODELYARD_API_URL": control.url, "MODELYARD_INSTANCE_TOKEN": TOKEN},
        stderr=subprocess.DEVNULL,
    )
    try:
        started = control.wait(lambda: control.bodies(wanted.id, Started), 60)
        yield (
            Loop(started[0].pid, folder / "assignments" / f"{wanted.id}-1" / "job" / "work" / "rounds.jsonl"),
            control,
            wanted.id,
        )
    finally:
        control.known = False  # the instance is over: the agent ends what it runs
        agent.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            agent.wait(20)
        agent.kill()
        control.stop()


@contextmanager
def bare_loop(kind: str, file: Path, threads: int) -> Iterator[Loop]:
    """A loop of bare PyTorch."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.overhead_loops", kind, file, str(threads)], cwd=ROOT)
    try:
        yield Loop(process.pid, file)
    finally:
        process.kill()
        process.wait()


def take_turns(one: Loop, other: Loop, rounds: int) -> None:
    """Rounds of each, alternating."""
    for _ in range(rounds):
        one.turn()
        other.turn()


def steps_per(rounds: list[Round], what: str) -> float:
    """Steps per second of `wall_seconds` or `cpu_seconds`."""
    seconds: list[float] = [getattr(each, what) for each in rounds]
    return sum(each.steps for each in rounds) / sum(seconds)


def result(name: str, against: str, ours: list[Round], theirs: list[Round]) -> dict[str, Any]:
    """One line."""
    ratio = steps_per(ours, "wall_seconds") / steps_per(theirs, "wall_seconds")
    return {
        "name": name,
        "value": round(steps_per(ours, "wall_seconds"), 1),
        "unit": "steps/s",
        "against": against,
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "stretch": 1.0,
        "met": ratio >= GOAL,
        "cpu_ratio": round(steps_per(ours, "cpu_seconds") / steps_per(theirs, "cpu_seconds"), 3),
    }


def main() -> int:
    """Print the JSON lines."""
    cpu_count = float(len(os.sched_getaffinity(0)))
    threads = trainer_threads(cpu_count)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, control, assignment_id = stack.enter_context(platform_loop(folder / "instance", cpu_count))
        bare = stack.enter_context(bare_loop("bare", folder / "bare", threads))
        take_turns(bare, ours, ROUNDS + 1)
        rounds = [ours.rounds(), bare.rounds()]
        default = stack.enter_context(bare_loop("threads", folder / "threads", threads))
        take_turns(default, ours, THREADS_ROUNDS + 1)
        rounds += [ours.rounds()[-THREADS_ROUNDS:], default.rounds()]
        saved = len(control.bodies(assignment_id, CheckpointSaved))
    print(f"{ROUNDS} rounds each; the platform's loop on {threads} threads, {saved} of its checkpoints stored")
    lines = [
        result("training_overhead", "the same loop in bare PyTorch, unsandboxed, same threads", rounds[0], rounds[1]),
        result("training_overhead_threads", "the same on torch's default threads", rounds[2], rounds[3]),
    ]
    print(json.dumps(lines))
    return 0 if lines[0]["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
