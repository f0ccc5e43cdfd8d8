import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.compression.gate import Limits, Measured, judge

pytestmark = pytest.mark.unit


def measured(accuracy: float, latency_ms: float = 1.0, throughput: float = 1.0, size_bytes: int = 100) -> Measured:
    return Measured(size_bytes=size_bytes, latency_ms=latency_ms, throughput=throughput, accuracy=accuracy)


def test_a_faster_and_equally_right_model_passes() -> None:
    verdict = judge(measured(0.98), measured(0.98, 0.5), Limits(max_accuracy_loss_points=0.5, minimum_speedup=1.0))
    assert verdict.accepted
    assert verdict.speedup == 2.0


@pytest.mark.parametrize(("right", "objections"), [(979, 0), (975, 0), (974, 1), (990, 0)])
def test_the_limit_itself_is_allowed(right: int, objections: int) -> None:
    verdict = judge(
        measured(980 / 1000), measured(right / 1000, 0.5), Limits(max_accuracy_loss_points=0.5, minimum_speedup=1.0)
    )
    assert len(verdict.objections) == objections


def test_a_slower_model_is_refused_with_its_numbers() -> None:
    verdict = judge(measured(0.98), measured(0.98, 1.25), Limits(max_accuracy_loss_points=0.5, minimum_speedup=1.0))
    (objection,) = verdict.objections
    assert "0.80 x" in objection
    assert "1.250 ms" in objection


def test_both_objections_are_told() -> None:
    verdict = judge(measured(0.98), measured(0.90, 2.0), Limits(max_accuracy_loss_points=0.5, minimum_speedup=1.5))
    assert len(verdict.objections) == 2
    assert "8.00 accuracy points" in verdict.objections[0]


@given(
    before=st.integers(0, 10_000),
    after=st.integers(0, 10_000),
    limit=st.integers(0, 100),
)
def test_the_judgement_is_that_of_whole_numbers(before: int, after: int, limit: int) -> None:
    verdict = judge(
        measured(before / 10_000),
        measured(after / 10_000, 0.5),
        Limits(max_accuracy_loss_points=float(limit), minimum_speedup=1.0),
    )
    assert verdict.accepted is (before - after <= limit * 100)


def test_throughput_and_size_are_asked_for_too() -> None:
    limits = Limits(
        max_accuracy_loss_points=0.5, minimum_speedup=0, minimum_throughput_speedup=2.0, minimum_size_ratio=2.0
    )
    assert judge(measured(0.9), measured(0.9, throughput=2.0, size_bytes=50), limits).accepted
    throughput, size = judge(measured(0.9), measured(0.9, throughput=1.9, size_bytes=51), limits).objections
    assert "1.90 x as many inputs" in throughput
    assert "1.96 x smaller (100 to 51 bytes)" in size
