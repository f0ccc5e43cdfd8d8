import errno
import os
import signal
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from backend.core.wire import CheckpointWritten, JobFailed, Progress, ResultWritten
from tests.training.folders import Told, write_spec
from worker.jobprocess import FAILED_EXIT_CODE, STOPPED_EXIT_CODE, UNHEARD_EXIT_CODE, JobProcess, run_job
from worker.sleeping import sleep

pytestmark = pytest.mark.unit


def test_it_sleeps_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(sleep, write_spec(tmp_path, "sleep", {"seconds": 0.4})) == 0
    told = Told.parse(capsys.readouterr().out)
    assert [(progress.step, progress.total_steps) for progress in told.of(Progress)] == [(1, 2), (2, 2)]
    (result,) = told.of(ResultWritten)
    assert (tmp_path / "work" / result.folder / "slept.json").exists()


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "The disk of the job's instance is full"), (errno.EIO, "Unexpected OSError")]
)
def test_a_full_disk_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, said: str) -> None:
    def work(_: JobProcess) -> None:
        raise OSError(number, os.strerror(number))

    assert run_job(work, write_spec(tmp_path, "sleep", {"seconds": 0})) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert failed.failure.failure_class == "platform"
    assert failed.failure.reason.startswith(said)


def test_it_fails_as_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = {"seconds": 0, "fail_with": "The data is cursed."}
    assert run_job(sleep, write_spec(tmp_path, "sleep", parameters)) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert failed.failure.failure_class == "user_code"
    assert failed.failure.reason == "The data is cursed."
    assert failed.failure.peak_memory_bytes is not None


def test_wrong_parameters_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(sleep, write_spec(tmp_path, "sleep", {"seconds": -1})) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert "seconds" in failed.failure.reason


def test_memory_is_really_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(sleep, write_spec(tmp_path, "sleep", {"seconds": 0, "memory_bytes": 10_000})) == 0
    (result,) = Told.parse(capsys.readouterr().out).of(ResultWritten)
    assert result.summary["memory_bytes"] == 10_000


def test_too_much_memory_is_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = {"seconds": 0, "memory_bytes": 2**60}
    assert run_job(sleep, write_spec(tmp_path, "sleep", parameters)) == FAILED_EXIT_CODE
    (failed,) = Told.parse(capsys.readouterr().out).of(JobFailed)
    assert failed.failure.failure_class == "out_of_memory"


def test_a_stop_writes_a_checkpoint_that_the_next_attempt_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_spec(tmp_path / "first", "sleep", {"seconds": 60})
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        assert run_job(sleep, first) == STOPPED_EXIT_CODE
    finally:
        signal.signal(signal.SIGALRM, before)
    (written,) = Told.parse(capsys.readouterr().out).of(CheckpointWritten)
    checkpoint = first / "work" / written.folder / "slept.json"
    slept = msgspec.json.decode(checkpoint.read_bytes())["slept_seconds"]
    assert slept == pytest.approx(0.2 * written.step)

    second = write_spec(tmp_path / "second", "sleep", {"seconds": slept + 0.2}, written.step)
    (second / "checkpoint").mkdir()
    (second / "checkpoint" / "slept.json").write_bytes(checkpoint.read_bytes())
    assert run_job(sleep, second) == 0
    told = Told.parse(capsys.readouterr().out)
    assert len(told.of(Progress)) == 1
    assert told.of(ResultWritten)[0].summary["slept_seconds"] == pytest.approx(slept + 0.2)


def test_a_broken_line_to_the_agent_is_no_failure_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_AGENT_SOCKET", "agent.sock")
    folder = write_spec(tmp_path, "sleep", {"seconds": 30})
    assert run_job(sleep, folder) == UNHEARD_EXIT_CODE, "nobody listens"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("agent.sock")
        listener.listen()
        agent = threading.Thread(target=lambda: socket.socket.close(listener.accept()[0]))
        agent.start()
        assert run_job(sleep, folder) == UNHEARD_EXIT_CODE, "the line breaks"
        agent.join()
