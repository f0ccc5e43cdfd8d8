"""Every case there is, as data, and the covering choice a seed makes of them."""

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

KILL, STOP, DISK, CUT = "kill", "stop", "disk", "cut"
FAULTS = (KILL, STOP, DISK, CUT)
HOLD_SECONDS = {KILL: 0.0, STOP: 30.0, DISK: 8.0, CUT: 8.0}
"""How long a fault lasts before it is undone."""
LAST = 8
"""So many short cases come at the end, when homes run out of cases."""

TRAINING, COMPRESSION, ENDPOINT = "training", "compression", "endpoint"
PHASES: dict[str, tuple[str, ...]] = {
    TRAINING: (
        "queued",
        "provisioning",
        "starting",
        "running",
        "checkpointed",
        "exporting",
        "uploading",
        "ending",
    ),
    COMPRESSION: ("starting", "quantizing", "gate", "uploading", "registering"),
    ENDPOINT: ("creating", "starting", "serving", "weights", "variants", "deleting"),
}
CONTROL_PLANE = ("api", "worker", "beat", "postgres", "valkey")
"""What may suffer without an answer or an attempt being lost (★7)."""
DATA_PLANE = ("gateway", "replica", "server")
"""`replica`: the parent of an endpoint's serving processes; `server`: one of those."""
ON_INSTANCE = ("agent", "trainer", "compressor")
PROCESSES = (*CONTROL_PLANE, *DATA_PLANE, *ON_INSTANCE)

LIVES: dict[tuple[str, str], tuple[str, ...]] = {
    ("agent", TRAINING): PHASES[TRAINING][1:],
    ("trainer", TRAINING): ("running", "checkpointed", "exporting"),
    ("trainer", COMPRESSION): (),
    ("trainer", ENDPOINT): (),
    ("compressor", COMPRESSION): ("quantizing", "gate"),
    ("compressor", TRAINING): (),
    ("compressor", ENDPOINT): (),
    ("server", TRAINING): (),
    ("server", COMPRESSION): (),
    ("server", ENDPOINT): ("serving", "weights", "variants", "deleting"),
}
"""Phases in which a process lives that does not live in all of a subject's: (process, subject) → phases."""


@dataclass(frozen=True, order=True)
class Case:
    """One strike."""

    subject: str
    phase: str
    process: str
    fault: str

    @property
    def name(self) -> str:
        return f"{self.subject}-{self.phase}-{self.process}-{self.fault}"

    @property
    def cell(self) -> tuple[str, str, str]:
        """Process by phase."""
        return self.subject, self.phase, self.process


def all_cases(faults: Sequence[str] = FAULTS) -> list[Case]:
    """Every case, of FULL=1."""
    return [Case(*cell, fault) for cell in cells() for fault in faults]


def cells() -> list[tuple[str, str, str]]:
    """(subject, phase, process) of every process that lives in a phase."""
    return [
        (subject, phase, process)
        for subject, phases in PHASES.items()
        for process in PROCESSES
        for phase in LIVES.get((process, subject), phases)
    ]


def covering(seed: int, faults: Sequence[str] = FAULTS) -> list[Case]:
    """Every process by phase once, every process by fault at least once, in the order in which they are to run."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    chosen: list[Case] = []
    for process in PROCESSES:
        own = [cell for cell in cells() if cell[2] == process]
        chance.shuffle(own)
        order = chance.sample(list(faults), len(faults))
        # A process with fewer phases than there are faults is struck more than once in some phase.
        rounds = max(len(own), len(faults))
        chosen += [Case(*own[i % len(own)], order[i % len(order)]) for i in range(rounds)]
    return spread(sorted(set(chosen)), chance)


def sample(seed: int, faults: Sequence[str] = FAULTS) -> list[Case]:
    """A small choice for every day: each process once, each subject and each fault, few of those that take long."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    drawn = itertools.cycle([KILL, *(fault for fault in faults if fault not in (KILL, STOP)), KILL])
    chosen: list[Case] = []
    for number, process in enumerate(PROCESSES):
        fault = STOP if number == 0 and STOP in faults else next(drawn)
        chosen.append(Case(*chance.choice([cell for cell in cells() if cell[2] == process]), fault))
    return spread(chosen, chance)


def spread(cases: Iterable[Case], chance: random.Random) -> list[Case]:
    """Shuffled, so that homes seldom wait or compute all at once; none of the longest is left for the end."""
    mixed = sorted(cases)
    chance.shuffle(mixed)
    short = [case for case in mixed if case.fault != STOP][-LAST:]
    return [case for case in mixed if case not in short] + short


def find(name: str) -> Case:
    """The case of this name. Raises KeyError."""
    return {case.name: case for case in all_cases()}[name]
