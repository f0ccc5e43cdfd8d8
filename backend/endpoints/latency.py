"""How long calls took, from counts by bucket (`wire.UsageLine.latency`): quantiles in milliseconds."""

from collections.abc import Mapping
from typing import Final

from backend.core.wire import LATENCY_FLOOR_US, LATENCY_PER_OCTAVE

MILLISECOND_US: Final = 1000


def bounds_ms(bucket: int) -> tuple[float, float]:
    """Where a bucket begins and ends; the last one has no end, and is shown as one as wide as the others."""
    floor = LATENCY_FLOOR_US / MILLISECOND_US
    end = floor * 2 ** (bucket / LATENCY_PER_OCTAVE)
    return (0.0 if bucket == 0 else floor * 2 ** ((bucket - 1) / LATENCY_PER_OCTAVE)), end


def quantile_ms(counts: Mapping[int, int], share: float) -> float | None:
    """The latency that `share` of the calls did not exceed, interpolated within its bucket; None without a call.

    A bucket is 19 % wide, so the answer is at most that far off.
    """
    whole = sum(counts.values())
    if whole <= 0:
        return None
    wanted, passed = share * whole, 0
    for bucket, count in sorted(counts.items()):
        if count and passed + count >= wanted:
            begin, end = bounds_ms(bucket)
            return begin + (end - begin) * (wanted - passed) / count
        passed += count
    return bounds_ms(max(counts))[1]
