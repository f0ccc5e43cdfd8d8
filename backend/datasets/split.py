"""Splits: which file trains, which validates, which tests. Pure and deterministic.

Sizes are exact. A stratified split gives every class its share of every split by largest remainders, split by
split, over what the splits before left; so a cell of the table class by split is less than two files away from
its ideal share. Which files of a class go where is decided by SHA-256 of seed and path: no random number
generator whose stream could change with a version of Python.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from backend.datasets.errors import SplitInvalid, TooFewFiles

SPLITS = ("train", "validation", "test")

Key = TypeVar("Key", int, str)


def apportion(total: int, shares: Mapping[Key, Fraction]) -> dict[Key, int]:
    """Whole numbers that sum to `total` and are nearest to the shares (largest remainder, then order of keys).

    `shares` sum to `total`. Hamilton's method: https://en.wikipedia.org/wiki/Quota_method
    """
    floors = {key: int(share) for key, share in shares.items()}
    remainders = sorted(shares, key=lambda key: floors[key] - shares[key])
    for key in remainders[: total - sum(floors.values())]:
        floors[key] += 1
    return floors


def split_sizes(file_count: int, requested: Mapping[str, int | float]) -> dict[str, int]:
    """Files per split, in the order of `SPLITS`, from counts (integers) or fractions that sum to 1.

    Counts may sum to less than `file_count`: the rest is left out of the version.
    Raises SplitInvalid, TooFewFiles.
    """
    values = [requested.get(name, 0) for name in SPLITS]
    if any(value < 0 for value in values) or not values[0] > 0:
        raise SplitInvalid("a split has a positive size for train and no negative size")
    if all(isinstance(value, int) for value in values):
        sizes = dict(zip(SPLITS, (int(value) for value in values), strict=True))
    else:
        sizes = _sizes_of_fractions(file_count, values)
    wanted = sum(sizes.values())
    if wanted > file_count:
        raise TooFewFiles(f"the split asks for {wanted} files, the dataset has {file_count}", files=file_count)
    if sizes["train"] == 0:
        raise TooFewFiles(f"{file_count} files leave none for train", files=file_count)
    return sizes


def _sizes_of_fractions(file_count: int, values: Sequence[int | float]) -> dict[str, int]:
    tolerance = Fraction(1, 10**6)
    exact = [Fraction(repr(value)) for value in values]
    total = sum(exact, Fraction())
    if abs(total - 1) > tolerance:
        raise SplitInvalid(f"fractions of a split sum to 1, these sum to {float(total):g}")
    return apportion(file_count, {name: value * file_count / total for name, value in zip(SPLITS, exact, strict=True)})


def assign_splits(labels: Mapping[str, str], sizes: Mapping[str, int], *, seed: int, stratify: bool) -> dict[str, str]:
    """Split by path, for exactly `sizes[split]` paths each.

    `labels`: label by path. `sizes`: as `split_sizes` returns them. Paths left out are absent from the result.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for path in labels:
        groups[labels[path] if stratify else ""].append(path)
    for paths in groups.values():
        paths.sort(key=lambda path: (_draw(seed, path), path))
    assigned: dict[str, str] = {}
    taken: Counter[str] = Counter()
    for split, shares in share_out({label: len(paths) for label, paths in groups.items()}, sizes).items():
        for label, count in shares.items():
            assigned.update(dict.fromkeys(groups[label][taken[label] : taken[label] + count], split))
            taken[label] += count
    return assigned


def share_out(counts: Mapping[Key, int], sizes: Mapping[str, int]) -> dict[str, dict[Key, int]]:
    """Examples by split and stratum: every one's share of exactly `sizes[split]`; empty splits are absent.

    `counts`: examples by stratum, at least as many as `sizes` asks for.
    """
    left = Counter({stratum: counts[stratum] for stratum in sorted(counts)})
    shares: dict[str, dict[Key, int]] = {}
    for split in SPLITS:
        if size := sizes.get(split, 0):
            remaining = left.total()
            shares[split] = apportion(size, {each: Fraction(size * count, remaining) for each, count in left.items()})
            left.subtract(shares[split])
    return shares


def _draw(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{path}".encode()).digest()
