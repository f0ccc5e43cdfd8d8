"""Splits are exact, stratified, disjoint and deterministic."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.datasets.errors import SplitInvalid, TooFewFiles
from backend.datasets.split import SPLITS, apportion, assign_splits, split_sizes

pytestmark = pytest.mark.unit


@st.composite
def classes_and_sizes(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, int]]:
    classes = {f"class {n}": draw(st.integers(1, 60)) for n in range(draw(st.integers(2, 8)))}
    total = sum(classes.values())
    train = draw(st.integers(1, total))
    validation = draw(st.integers(0, total - train))
    test = draw(st.integers(0, total - train - validation))
    return classes, {"train": train, "validation": validation, "test": test}


def labels_of(classes: dict[str, int]) -> dict[str, str]:
    return {f"{label}/{n:03d}.png": label for label, count in classes.items() for n in range(count)}


@settings(max_examples=200, deadline=None)
@given(classes_and_sizes(), st.integers(0, 2**31), st.booleans())
def test_sizes_are_exact_and_the_draw_repeats(
    case: tuple[dict[str, int], dict[str, int]],
    seed: int,
    stratify: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    classes, sizes = case
    labels = labels_of(classes)
    assigned = assign_splits(labels, sizes, seed=seed, stratify=stratify)
    counts = Counter(assigned.values())
    assert {split: counts[split] for split in SPLITS} == sizes
    assert set(assigned) <= set(labels)
    backwards = dict(reversed(labels.items()))
    assert assign_splits(backwards, sizes, seed=seed, stratify=stratify) == assigned


@settings(max_examples=200, deadline=None)
@given(classes_and_sizes(), st.integers(0, 2**31))
def test_every_class_gets_its_share_of_every_split(case: tuple[dict[str, int], dict[str, int]], seed: int) -> None:
    classes, sizes = case
    assigned = assign_splits(labels_of(classes), sizes, seed=seed, stratify=True)
    cells = Counter((path.split("/")[0], split) for path, split in assigned.items())
    total = sum(classes.values())
    for label, count in classes.items():
        for split, size in sizes.items():
            assert abs(cells[label, split] - Fraction(count * size, total)) < 2


def test_equal_classes_are_split_equally() -> None:
    labels = labels_of({str(digit): 500 for digit in range(10)})
    assigned = assign_splits(labels, {"train": 3000, "validation": 1000, "test": 1000}, seed=0, stratify=True)
    cells = Counter((labels[path], split) for path, split in assigned.items())
    assert {cells[str(digit), "train"] for digit in range(10)} == {300}
    assert {cells[str(digit), "test"] for digit in range(10)} == {100}


def test_another_seed_is_another_split() -> None:
    labels = labels_of({"a": 50, "b": 50})
    sizes = {"train": 60, "validation": 20, "test": 20}
    first, second = (assign_splits(labels, sizes, seed=seed, stratify=True) for seed in (1, 2))
    assert first != second


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 2000))
def test_apportion_rounds_each_share_to_a_neighbour(weights: list[int], total: int) -> None:
    whole = sum(weights) or 1
    shares = {n: Fraction(total * weight, whole) for n, weight in enumerate(weights)}
    if sum(shares.values()) != total:
        return
    parts = apportion(total, shares)
    assert sum(parts.values()) == total
    assert all(abs(parts[n] - share) < 1 for n, share in shares.items())


def test_fractions_become_counts() -> None:
    assert split_sizes(5000, {"train": 0.6, "validation": 0.2, "test": 0.2}) == {
        "train": 3000,
        "validation": 1000,
        "test": 1000,
    }
    assert sum(split_sizes(7, {"train": 0.34, "validation": 0.33, "test": 0.33}).values()) == 7


@pytest.mark.parametrize(
    ("requested", "error"),
    [
        ({"train": 11}, TooFewFiles),
        ({"train": 6, "validation": 3, "test": 2}, TooFewFiles),
        ({"train": 0, "test": 5}, SplitInvalid),
        ({"train": -1, "test": 5}, SplitInvalid),
        ({"train": 0.5, "test": 0.4}, SplitInvalid),
        ({"train": 0.01, "test": 0.99}, TooFewFiles),
    ],
)
def test_sizes_that_cannot_be(requested: dict[str, int | float], error: type[Exception]) -> None:
    with pytest.raises(error):
        split_sizes(10, requested)
