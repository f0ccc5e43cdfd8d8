"""Latency: the replica's buckets and the control plane's quantiles mean the same."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.wire import LATENCY_BUCKETS, LATENCY_FLOOR_US
from backend.endpoints.errors import SegmentMalformed
from backend.endpoints.latency import bounds_ms, quantile_ms
from backend.endpoints.segments import parse_segment
from worker.serving.metering import latency_bucket

pytestmark = pytest.mark.unit
KEY = "0190c000-0000-7000-8000-000000000001"
HEADER = b'{"segment_id": "s", "replica_id": "r", "endpoint_id": "e", "opened_at": 1.0}\n'


@given(st.floats(min_value=0, max_value=150))
def test_a_call_lies_within_its_bucket(seconds: float) -> None:
    begin, end = bounds_ms(latency_bucket(seconds))
    assert begin * (1 - 1e-9) <= seconds * 1000 <= end * (1 + 1e-9)


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (LATENCY_FLOOR_US / 1e6, 0), (1e9, LATENCY_BUCKETS - 1)])
def test_the_ends_have_their_buckets(seconds: float, bucket: int) -> None:
    assert latency_bucket(seconds) == bucket


@given(st.lists(st.floats(min_value=1e-4, max_value=60), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_off_by_a_bucket_at_most(calls: list[float], share: float) -> None:
    counts: dict[int, int] = {}
    for seconds in calls:
        counts[latency_bucket(seconds)] = counts.get(latency_bucket(seconds), 0) + 1
    exact = sorted(calls)[max(0, -int(-share * len(calls) // 1) - 1)] * 1000
    found = quantile_ms(counts, share)
    assert found is not None
    assert exact / 1.2 - 0.1 <= found <= exact * 1.2 + 0.1


def test_without_a_call_there_is_no_latency() -> None:
    assert quantile_ms({}, 0.5) is None
    assert quantile_ms({3: 0}, 0.5) is None


def line(**other: object) -> bytes:
    values = {"at": 1.0, "variant": "a", "key_id": KEY, "calls": 3, "items": 3, "bytes_in": 1, "bytes_out": 1}
    values |= {"compute_us": 5, "errors": 0, **other}
    return HEADER + msgspec.json.encode(values)


def test_latencies_of_one_key_and_variant_add_up() -> None:
    content = line(latency={"4": 2, "9": 1}) + b"\n" + line(latency={"4": 1}).splitlines()[1]
    (sums,) = parse_segment(content, variants=["a"]).sums.values()
    assert dict(sums.latency) == {4: 3, 9: 1}


def test_a_replica_of_an_earlier_version_says_nothing() -> None:
    (sums,) = parse_segment(line(), variants=["a"]).sums.values()
    assert (sums.calls, dict(sums.latency)) == (3, {})


@pytest.mark.parametrize("latency", [{"4": 4}, {"4": -1}, {"-1": 1}, {str(LATENCY_BUCKETS): 1}, {"x": 1}, [1]])
def test_latencies_that_are_not_those_of_the_calls_are_malformed(latency: object) -> None:
    with pytest.raises(SegmentMalformed):
        parse_segment(line(latency=latency), variants=["a"])
