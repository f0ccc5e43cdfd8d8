"""The pilot's judgement: what was not as it should be is named, and only that."""

from collections import Counter
from pathlib import Path

import pytest

from modelyard import Client
from modelyard.pilot import Pilot, Plan, VariantPlan
from modelyard.types import DatasetVersion

pytestmark = pytest.mark.unit

SPLITS = {"train": 3000, "validation": 1000, "test": 1000}


def judge(*, accuracy: dict[str, float], calls: dict[str, int], splits: dict[str, int] | None = None) -> list[str]:
    plan = Plan(
        project="demo",
        name="digits",
        archive=Path("unused.zip"),
        splits=SPLITS,
        variants=(VariantPlan("fp32", 70), VariantPlan("int8", 30, compressed_from="fp32")),
        minimum_accuracy=0.975,
    )
    version = DatasetVersion(
        id="1",
        dataset_id="1",
        number=1,
        manifest_sha256="",
        file_count=5000,
        size_bytes=1,
        splits=splits or SPLITS,
        classes={},
    )
    with Client("http://127.0.0.1:9", "unused") as client:
        pilot = Pilot(client, "http://127.0.0.1:9", "unused", plan, print)
        pilot.judge(accuracy, Counter(calls), version)
    return pilot.problems


def test_what_is_as_planned_is_no_problem() -> None:
    assert judge(accuracy={"fp32": 0.984, "int8": 0.979}, calls={"fp32": 7290, "int8": 2710}) == []


@pytest.mark.parametrize(
    ("accuracy", "calls", "splits", "problems"),
    [
        ({"fp32": 0.974, "int8": 0.974}, {"fp32": 7000, "int8": 3000}, None, ["'fp32' is right in 97.40%"]),
        ({"fp32": 0.984, "int8": 0.978}, {"fp32": 7000, "int8": 3000}, None, ["'int8' is right in 97.80%"]),
        ({"fp32": 0.984, "int8": 0.984}, {"fp32": 7310, "int8": 2690}, None, ["'fp32' got 73.1%", "'int8' got 26.9%"]),
        ({"fp32": 0.984, "int8": 0.984}, {"fp32": 10000}, None, ["'fp32' got 100.0%", "'int8' got 0.0%"]),
        (
            {"fp32": 0.984, "int8": 0.984},
            {"fp32": 7000, "int8": 3000},
            {"train": 2999, "validation": 1000, "test": 1001},
            ["the version was split"],
        ),
    ],
)
def test_what_is_not_is_named(
    accuracy: dict[str, float], calls: dict[str, int], splits: dict[str, int] | None, problems: list[str]
) -> None:
    found = judge(accuracy=accuracy, calls=calls, splits=splits)
    assert len(found) == len(problems)
    assert all(part in line for part, line in zip(problems, found, strict=True))
