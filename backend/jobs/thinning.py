"""Fewer points that look the same: MinMaxLTTB (Van Der Donckt et al. 2023, arXiv 2305.00332). Pure.

The extremes of four times as many bins are preselected, then Largest-Triangle-Three-Buckets (Steinarsson 2013) chooses
among them. First and last points stay.
"""

from collections.abc import Sequence
from itertools import pairwise

FEWEST = 3


def keep(values: Sequence[float], steps: Sequence[int], limit: int) -> list[int]:
    """Indices, ascending, of at most `limit` (3 or more) points; all of them where they are few.

    `values` are finite, of the same length as `steps`.
    """
    if len(values) <= limit:
        return list(range(len(values)))
    return _largest_triangles(_extremes(values, limit * 2), steps, values, limit)


def _extremes(values: Sequence[float], bins: int) -> list[int]:
    """Indices of the first, the last, and each bin's lowest and highest value."""
    count = len(values)
    chosen = {0, count - 1}
    for number in range(bins):
        begin, end = number * count // bins, (number + 1) * count // bins
        part = values[begin:end]
        if part:
            chosen.add(begin + part.index(min(part)))
            chosen.add(begin + part.index(max(part)))
    return sorted(chosen)


def _largest_triangles(indices: list[int], steps: Sequence[int], values: Sequence[float], limit: int) -> list[int]:
    """Of `indices`, those that span the largest triangles with their neighbours (LTTB)."""
    if len(indices) <= limit:
        return indices
    inner, chosen = indices[1:-1], [indices[0]]
    size = len(inner) / (limit - 2)
    buckets = [inner[int(n * size) : int((n + 1) * size)] for n in range(limit - 2)] + [[indices[-1]]]
    for bucket, following in pairwise(buckets):
        if not bucket:
            continue
        x = sum(steps[i] for i in following) / max(len(following), 1)
        y = sum(values[i] for i in following) / max(len(following), 1)
        ax, ay = steps[chosen[-1]], values[chosen[-1]]
        chosen.append(max(bucket, key=lambda i: abs((ax - x) * (values[i] - ay) - (ax - steps[i]) * (y - ay))))
    return [*chosen, indices[-1]]
