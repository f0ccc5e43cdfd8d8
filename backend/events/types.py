"""Names of the events that are told outside: `<kind>.<status that it came to>`."""

from collections.abc import Collection, Sequence

from backend.endpoints.states import ENDPOINT
from backend.jobs.states import JOB

EVENT_TYPES: tuple[str, ...] = (
    *(f"job.{status}" for status in JOB),
    *(f"endpoint.{status}" for status in ENDPOINT),
)
PATTERNS: tuple[str, ...] = ("*", "job.*", "endpoint.*", *EVENT_TYPES)
TEST_TYPE = "test.sent"


def wanted(event_type: str, patterns: Collection[str]) -> bool:
    """Whether a subscription to these patterns is told of it."""
    kind = event_type.partition(".")[0]
    return not {"*", f"{kind}.*", event_type}.isdisjoint(patterns)


def unknown(patterns: Sequence[str]) -> list[str]:
    """Those that no event will ever match."""
    return sorted(set(patterns) - set(PATTERNS))
