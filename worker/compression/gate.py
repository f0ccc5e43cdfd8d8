"""The gate: may a compressed model replace the original? Pure, so that its judgement can be read and
tested.
"""

from dataclasses import dataclass

import msgspec


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model.

    latency_ms: median for one image. throughput: images/s in batches. accuracy: fraction of the validation
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


def judge(before: Measured, after: Measured, *, max_accuracy_loss_points: float, minimum_speedup: float) -> Verdict:
    """Both limits may be met exactly; one objection, with its numbers, for each that is missed."""
    # Accuracies are counts over a split; twelve digits undo what the subtraction of fractions adds.
    loss_points = round((before.accuracy - after.accuracy) * 100, 12)
    speedup = before.latency_ms / after.latency_ms
    objections = []
    if loss_points > max_accuracy_loss_points:
        objections.append(
            f"it loses {loss_points:.2f} accuracy points ({before.accuracy:.2%} to {after.accuracy:.2%}), "
            f"and {max_accuracy_loss_points:.2f} are allowed"
        )
    if speedup < minimum_speedup:
        objections.append(
            f"it is {speedup:.2f} x as fast ({before.latency_ms:.3f} ms to {after.latency_ms:.3f} ms), "
            f"and {minimum_speedup:.2f} x is asked for"
        )
    return Verdict(loss_points, speedup, objections)
