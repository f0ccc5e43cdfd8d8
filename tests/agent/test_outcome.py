"""How an end is judged, from all the evidence."""

from typing import Any

import msgspec
import pytest

from backend.core.wire import Ended, Failure
from worker.agent.outcome import ProcessEnd, judge, timed_out
from worker.agent.run import StopRequest
from worker.jobprocess import UNHEARD_EXIT_CODE

pytestmark = pytest.mark.unit

STOP = StopRequest(reason="asked")


def end(**changes: Any) -> ProcessEnd:
    """A process that ended with code 0 and no result, unless changed."""
    plain = ProcessEnd(
        exit_code=0,
        verdict=None,
        told=None,
        stop_request=None,
        out_of_memory=False,
        peak_memory_bytes=None,
        memory_limit_bytes=1 << 20,
        has_result=False,
        tail=["last"],
    )
    return msgspec.structs.replace(plain, **changes)


def test_a_result_and_exit_0_complete_even_when_asked_to_stop() -> None:
    assert judge(end(has_result=True, stop_request=STOP)) == Ended(outcome="completed")


@pytest.mark.parametrize("code", [0, 75, 143, 137, 1])
def test_asked_to_stop(code: int) -> None:
    assert judge(end(exit_code=code, stop_request=STOP)) == Ended(outcome="stopped")


@pytest.mark.parametrize(
    ("changes", "failure_class"),
    [
        ({"out_of_memory": True, "exit_code": 137, "stop_request": STOP}, "out_of_memory"),
        ({"verdict": timed_out(1.0), "exit_code": 137}, "timeout"),
        ({"told": Failure(failure_class="gate", reason="worse"), "exit_code": 65}, "gate"),
        ({"told": Failure(failure_class="timeout", reason="x"), "exit_code": 65}, "user_code"),
        ({"exit_code": 137}, "interruption"),
        ({"exit_code": UNHEARD_EXIT_CODE}, "interruption"),
        ({"exit_code": UNHEARD_EXIT_CODE, "told": Failure(failure_class="gate", reason="worse")}, "gate"),
        ({"exit_code": 139}, "user_code"),
        ({"exit_code": 1}, "user_code"),
        ({"exit_code": 1, "has_result": True}, "user_code"),
        ({"exit_code": 0}, "user_code"),
        ({"exit_code": None}, "platform"),
        ({"exit_code": 127, "tail": ["setpriv: failed to execute"]}, "platform"),
    ],
)
def test_failed(changes: dict[str, Any], failure_class: str) -> None:
    ended = judge(end(**changes))
    assert ended.outcome == "failed"
    assert ended.failure is not None
    assert ended.failure.failure_class == failure_class
    assert ended.failure.log_tail
