"""The gate: may a compressed model replace the original? Pure, so that its judgement can be read and
tested.
"""

from dataclasses import dataclass

import msgspec


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model.

    latency_ms: median for one input. throughput: inputs/s in batches. accuracy: fraction of the validation
    split.
    """

    size_bytes: int
    latency_ms: float
    throughput: float
    accuracy: float


@dataclass(frozen=True)
class Verdict:
    """loss_points: percentage points of accuracy lost (negative = gained). objections: empty = accepted."""

    loss_points: float
    speedup: float
    objections: list[str]

    @property
    def accepted(self) -> bool:
        """Nothing speaks against it."""
        return not self.objections


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Every limit may be met exactly; 0 asks for nothing.

    max_accuracy_loss_points: percentage points. minimum_speedup: latency before / after. minimum_throughput_speedup:
    throughput after / before. minimum_size_ratio: bytes before / after.
    """

    max_accuracy_loss_points: float
    minimum_speedup: float
    minimum_throughput_speedup: float = 0.0
    minimum_size_ratio: float = 0.0


def lost_points(before: float, after: float) -> float:
    """Percentage points between two accuracies in [0, 1]."""
    # Accuracies are counts over a split; twelve digits undo what the subtraction of fractions adds.
    return round((before - after) * 100, 12)


def judge(before: Measured, after: Measured, limits: Limits) -> Verdict:
    """One objection, with its numbers, for each limit that is missed."""
    loss_points = lost_points(before.accuracy, after.accuracy)
    speedup = before.latency_ms / after.latency_ms
    throughput, size = after.throughput / before.throughput, before.size_bytes / after.size_bytes
    objections = []
    if loss_points > limits.max_accuracy_loss_points:
        objections.append(
            f"it loses {loss_points:.2f} accuracy points ({before.accuracy:.2%} to {after.accuracy:.2%}), "
            f"and {limits.max_accuracy_loss_points:.2f} are allowed"
        )
    if speedup < limits.minimum_speedup:
        objections.append(
            f"it is {speedup:.2f} x as fast ({before.latency_ms:.3f} ms to {after.latency_ms:.3f} ms), "
            f"and {limits.minimum_speedup:.2f} x is asked for"
        )
    if throughput < limits.minimum_throughput_speedup:
        objections.append(
            f"it answers {throughput:.2f} x as many inputs in batches ({before.throughput:.4g}/s to "
            f"{after.throughput:.4g}/s), and {limits.minimum_throughput_speedup:.2f} x is asked for"
        )
    if size < limits.minimum_size_ratio:
        objections.append(
            f"it is {size:.2f} x smaller ({before.size_bytes} to {after.size_bytes} bytes), "
            f"and {limits.minimum_size_ratio:.2f} x is asked for"
        )
    return Verdict(loss_points, speedup, objections)
