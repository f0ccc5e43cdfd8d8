"""How a process ended, judged from everything the agent saw: pure."""

import signal

import msgspec

from backend.core.wire import Ended, Failure
from worker.agent.run import StopRequest, platform_failure, stopped

TRUSTED_CLASSES = frozenset({"user_code", "out_of_memory", "credentials", "gate", "platform"})
"""What a job may call its own failure: not what would excuse it (capacity, interruption, timeout)."""
SIGNALLED = 128
"""An exit code above this is 128 + the number of the signal that ended the process."""
UNHEARD_EXIT_CODE = 69
"""Of a job process whose line to this agent broke (`worker.jobprocess`)."""
_NOT_RUN = frozenset({125, 126, 127})
_NOT_RUN_SAID = ("prlimit:", "setpriv:", "bwrap:", "/bin/sh:", "sh:")
REASON_CHARACTERS = 2000


class ProcessEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence. `verdict`: why the agent itself ended the process; `told`: the process's own failure."""

    exit_code: int | None
    verdict: Failure | None
    told: Failure | None
    stop_request: StopRequest | None
    out_of_memory: bool
    peak_memory_bytes: int | None
    memory_limit_bytes: int
    has_result: bool
    tail: list[str]


def judge(end: ProcessEnd) -> Ended:
    """The outcome and, unless completed, the failure with its evidence."""
    if end.exit_code == 0 and end.has_result:
        return Ended(outcome="completed")
    failure = _failure(end)
    if failure is None:
        return stopped(end.stop_request)
    if failure.failure_class == "platform" and end.told is None:
        return platform_failure(failure.reason, end.tail)
    evidence = msgspec.structs.replace(
        failure,
        exit_code=end.exit_code,
        peak_memory_bytes=max(filter(None, (failure.peak_memory_bytes, end.peak_memory_bytes)), default=None),
        log_tail=failure.log_tail or end.tail,
    )
    return Ended(outcome="failed", failure=evidence)


def _failure(end: ProcessEnd) -> Failure | None:
    """Why it failed, the surest evidence first; None if it only did what it was asked."""
    if end.out_of_memory:
        return out_of_memory(end.memory_limit_bytes)
    if end.verdict is not None:
        return end.verdict
    if end.told is not None:
        return _as_told(end.told)
    if end.stop_request is not None:
        return None
    return _from_exit_code(end)


def _from_exit_code(end: ProcessEnd) -> Failure:
    code = end.exit_code
    if code is None or (code in _NOT_RUN and "".join(end.tail[-1:]).startswith(_NOT_RUN_SAID)):
        return Failure(failure_class="platform", reason=f"The sandbox could not start: {' '.join(end.tail[-3:])}")
    if code == SIGNALLED + signal.SIGKILL:
        # Neither the agent, nor its memory limit, nor the job's own words: the host or a person did it.
        return Failure(
            failure_class="interruption",
            reason="The process was killed (signal 9) from outside.",
            hint="The next attempt goes on from the newest checkpoint. A job that kills itself so will fail again.",
        )
    if code == UNHEARD_EXIT_CODE:
        return Failure(
            failure_class="interruption",
            reason="The process lost its line to the agent.",
            hint="The next attempt goes on from the newest checkpoint.",
        )
    if code > SIGNALLED:
        name = signal.strsignal(code - SIGNALLED) or "unknown"
        said = f"The process was ended by signal {code - SIGNALLED} ({name})."
    elif code == 0:
        said = "The process ended without a result."
    else:
        said = f"The process ended with exit code {code}."
    return Failure(failure_class="user_code", reason=said)


def _as_told(told: Failure) -> Failure:
    trusted = told.failure_class if told.failure_class in TRUSTED_CLASSES else "user_code"
    return msgspec.structs.replace(
        told,
        failure_class=trusted,
        reason=told.reason.replace("\x00", "\ufffd")[:REASON_CHARACTERS],
        hint=told.hint.replace("\x00", "\ufffd")[:REASON_CHARACTERS] if told.hint else None,
        peak_memory_bytes=told.peak_memory_bytes if 0 < (told.peak_memory_bytes or 0) < 1 << 62 else None,
        log_tail=[],
    )


def out_of_memory(limit_bytes: int) -> Failure:
    """The process wanted more memory than its instance type has."""
    return Failure(
        failure_class="out_of_memory",
        reason=f"The process needed more memory than its limit of {limit_bytes / 2**20:.0f} MiB and was ended.",
        hint="Choose an instance type with more memory, or make the batch or the model smaller.",
    )


def timed_out(limit_seconds: float) -> Failure:
    """The attempt ran longer than it may."""
    return Failure(
        failure_class="timeout",
        reason=f"The attempt ran longer than its limit of {limit_seconds:g} s.",
        hint="Raise max_runtime_seconds, or let the job do less.",
    )


def disk_full(limit_bytes: int) -> Failure:
    """The process wrote more than its disk limit."""
    return Failure(
        failure_class="user_code",
        reason=f"The process wrote more than its disk limit of {limit_bytes / 2**20:.0f} MiB and was ended.",
        hint="Keep fewer checkpoints, or choose an instance type with a larger disk.",
    )
