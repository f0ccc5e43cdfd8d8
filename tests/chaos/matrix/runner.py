"""Homes side by side, cases from one queue, a line each, and the table at the end.

`python -m tests.chaos.matrix [--seed N] [--full | --sample | --case NAME …] [--homes N] [--minutes N] [--out FOLDER]
[--again | --failed]`. Every outcome is a line of `FOLDER/results.jsonl`: `--again` goes on with what has no green line
there, `--failed` repeats what is red. The last line printed is one JSON object; exit 1 on any red.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.matrix.cases import PHASES, PROCESSES, Case
from tests.chaos.matrix.home import Home, Outcome

CASES_PER_HOME = 30


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Run:
    """All cases of one run, and what has come of them."""

    cases: Sequence[Case]
    out: Path
    minutes: float
    outcomes: list[Outcome] = field(default_factory=list)
    bills: list[str] = field(default_factory=list)
    """What was wrong with the whole bill of a home."""
    homes: int = 0
    broken: list[str] = field(default_factory=list)
    """Homes that could not be opened."""

    def __post_init__(self) -> None:
        self.waiting = deque(self.cases)
        self._lock = threading.Lock()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def next_case(self) -> Case | None:
        """The next one, while there is time."""
        with self._lock:
            return self.waiting.popleft() if self.waiting and self.seconds < self.minutes * 60 else None

    def stop(self) -> None:
        """Begin no case any more; those that run are judged, and their homes end as they should."""
        self.minutes = 0.0

    def give_back(self, case: Case) -> None:
        with self._lock:
            self.waiting.appendleft(case)

    def add(self, outcome: Outcome) -> None:
        """Keep and tell an outcome."""
        with self._lock:
            self.outcomes.append(outcome)
            line = {"case": outcome.case.name, "seconds": round(outcome.seconds, 1), "problem": outcome.problem}
            with (self.out / "results.jsonl").open("a") as results:
                results.write(json.dumps(line) + "\n")
            mark = "RED  " if outcome.problem else "green"
            at = f"{len(self.outcomes)}/{len(self.cases)} {self.seconds / 60:5.1f} min"
            struck = f", struck when {outcome.struck}" if outcome.struck else ""
            say(f"{at} {mark} {outcome.case.name} ({outcome.seconds:.0f} s{struck}) {outcome.problem[:400]}".rstrip())

    def audited(self, cases: Sequence[Case], problem: str) -> None:
        """Keep and tell what the audit of a whole home said."""
        with self._lock:
            self.homes += 1
            say(f"      {'RED  ' if problem else 'green'} the bill of {len(cases)} cases {problem[:400]}".rstrip())
            if problem:
                self.bills.append(f"{problem} (after {', '.join(case.name for case in cases)})")


def run(done: Run, *, homes: int) -> None:
    """Run all its cases on so many homes at once. Returns when the last home is gone."""
    done.out.mkdir(parents=True, exist_ok=True)
    threads = [threading.Thread(target=_work, args=(done,), name=f"home-{number}") for number in range(homes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _work(done: Run) -> None:
    """Homes one after the other, until no case waits or two in a row could not be opened."""
    failures = 0
    while done.waiting and failures < 2:
        case = done.next_case()
        if case is None:
            return
        home = Home(done.out)
        try:
            home.open()
            failures = 0
            _run_on(done, home, case)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - told, and the other homes go on
            failures += 1
            done.broken.append(f"{type(error).__name__}: {error}")
            say(f"      a home broke: {error}"[:1000])
            if home.running is None:
                done.give_back(case)
        finally:
            _discard(done, home)


def _run_on(done: Run, home: Home, first: Case) -> None:
    """Cases on one home, until one is red, and the audit of its bill if none was."""
    ran: list[Case] = []
    case: Case | None = first
    while case is not None:
        outcome = home.run(case)
        ran.append(case)
        done.add(outcome)
        if outcome.problem:
            return  # a home that is not as it must be would make the next case red as well
        case = done.next_case() if len(ran) < CASES_PER_HOME else None
    done.audited(ran, home.close())


def _discard(done: Run, home: Home) -> None:
    try:
        home.discard()
    except (Exception, pytest.fail.Exception, AssertionError) as error:  # noqa: BLE001 - told; processes left are red
        done.broken.append(str(error))
        say(f"      a home did not end well: {error}"[:1000])


# --- telling --------------------------------------------------------------------------------------


def table(outcomes: Iterable[Outcome]) -> str:
    """Process by phase: how many cases were green, `+n` red."""
    found: dict[tuple[str, str, str], list[bool]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.case.cell, []).append(not outcome.problem)
    lines = []
    for subject, phases in PHASES.items():
        lines.append(f"{subject:12}" + "".join(f"{phase:>14}" for phase in phases))
        for process in PROCESSES:
            marks = [_mark(found.get((subject, phase, process), [])) for phase in phases]
            if any(mark != "-" for mark in marks):
                lines.append(f"{process:12}" + "".join(f"{mark:>14}" for mark in marks))
    return "\n".join(lines)


def _mark(greens: list[bool]) -> str:
    red = greens.count(False)
    return "-" if not greens else f"{greens.count(True)}" + (f" +{red} RED" if red else "")


def summary(done: Run, seed: int) -> dict[str, object]:
    """The last line."""
    red = [outcome.case.name for outcome in done.outcomes if outcome.problem]
    wrong = len(red) + len(done.bills) + len(done.broken) + len(done.waiting)
    return {
        "name": "kill_matrix",
        "value": wrong,
        "unit": "cases red, bills wrong, homes broken or cases not run",
        "against": "the right end of each subject, the provider's log, the callers' count",
        "ratio": 0 if not done.cases else round(1 - wrong / len(done.cases), 4),
        "goal": 0,
        "stretch": 0,
        "met": wrong == 0,
        "seed": seed,
        "cases": len(done.outcomes),
        "red": red,
        "bills": done.bills,
        "not_run": len(done.waiting),
        "homes_audited": done.homes,
        "seconds": round(done.seconds),
    }


def earlier(out: Path) -> dict[str, bool]:
    """Case → green, by the last line of each in `results.jsonl`."""
    path = out / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {said["case"]: not said["problem"] for said in map(json.loads, lines)}
