"""From the methods' candidates to the one that the gate judges."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from worker.compression.config import CompressionParameters
from worker.compression.gate import Limits, Measured, Verdict, judge, lost_points
from worker.compression.measure import accuracy, measure
from worker.compression.methods import METHODS, Method, Plan, Task, plans_of
from worker.compression.sensitivity import Sensitivity, fallback_plans, rank_layers
from worker.training.images import Split


@dataclass(frozen=True)
class Candidate:
    """A compressed model and its accuracy on the validation split."""

    plan: Plan
    path: Path
    accuracy: float


@dataclass(frozen=True)
class Choice:
    """The best candidate beside the original, and the judgement on it."""

    plan: Plan
    path: Path
    before: Measured
    after: Measured
    verdict: Verdict
    sensitivity: list[Sensitivity] = field(default_factory=list)


@dataclass
class Search:
    """Writes candidates. original: what they are compared with. heard: told what happens, raises to stop it."""

    task: Task
    original: Path
    validation: Split
    folder: Path
    heard: Callable[[str], None]
    sensitivity: list[Sensitivity] = field(default_factory=list)

    def run(self) -> Choice:
        """Every plan of the method; where none keeps the accuracy, layer after layer back in float until one does.

        Of those that keep it the fastest that passes the gate is chosen; if none passes, the one that loses the least.
        """
        method = METHODS[self.task.parameters.method]
        before = accuracy(self.original, self.validation)
        found = [self._write(method, plan) for plan in plans_of(method, self.task.prepared)]
        keeping = [one for one in found if self._keeps(before, one)]
        if not keeping and self.task.parameters.fallback:
            found += self._fall_back(method, before)
            keeping = [one for one in found if self._keeps(before, one)]
        least = max(found, key=lambda one: one.accuracy)
        return self._judge(before, keeping or [least])

    def _fall_back(self, method: Method, before: float) -> list[Candidate]:
        def between(number: int, count: int) -> None:
            self.heard(f"comparing layers, {number + 1} of {count}")

        self.sensitivity = rank_layers(method, self.task, self.folder, between)
        tried = []
        for plan in fallback_plans(self.sensitivity):
            tried.append(self._write(method, plan))
            if self._keeps(before, tried[-1]):
                break
        return tried

    def _write(self, method: Method, plan: Plan) -> Candidate:
        self.heard(f"writing a candidate, {plan.name}")
        path = self.folder / f"{plan.name}.onnx"
        method.write(self.task, path, list(plan.kept))
        return Candidate(plan, path, accuracy(path, self.validation))

    def _keeps(self, before: float, one: Candidate) -> bool:
        return lost_points(before, one.accuracy) <= self.task.parameters.max_accuracy_loss_points

    def _judge(self, before: float, candidates: list[Candidate]) -> Choice:
        self.heard("measuring")
        paths = {"before": self.original} | {one.plan.name: one.path for one in candidates}
        known = {"before": before} | {one.plan.name: one.accuracy for one in candidates}
        measured = measure(paths, self.validation, known)
        limits = limits_of(self.task.parameters)
        choices = [
            Choice(
                one.plan,
                one.path,
                measured["before"],
                measured[one.plan.name],
                judge(measured["before"], measured[one.plan.name], limits),
                self.sensitivity,
            )
            for one in candidates
        ]
        # The fastest that passes; else what loses the least.
        return max(
            choices,
            key=lambda one: (
                (True, one.verdict.speedup, 0.0)
                if one.verdict.accepted
                else (False, -one.verdict.loss_points, one.verdict.speedup)
            ),
        )


def limits_of(parameters: CompressionParameters) -> Limits:
    """What is asked for; a speed that nobody named is the method's own."""
    promised = METHODS[parameters.method].minimum_speedup
    return Limits(
        max_accuracy_loss_points=parameters.max_accuracy_loss_points,
        minimum_speedup=promised if parameters.minimum_speedup is None else parameters.minimum_speedup,
        minimum_throughput_speedup=parameters.minimum_throughput_speedup,
        minimum_size_ratio=parameters.minimum_size_ratio,
    )
