"""The supervisor and its warden, with small real processes: order, restarts, kill -9, locks, ports."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backend.platform.home import RunState, is_locked, read_run_state
from tests.platform.waiting import all_gone, until

Start = Callable[..., "Running"]


class Running:
    """One `small_home` in a process of its own."""

    def __init__(self, home: Path, scenario: str, port: int) -> None:
        self.home = home
        self.errors = home.with_suffix(".err")
        with self.errors.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.platform.small_home", str(home), scenario, str(port)],
                stderr=stream,
                cwd=Path(__file__).parents[2],
            )

    def wait_ready(self) -> RunState:
        assert until(lambda: "ready" in self.errors.read_text()), self.errors.read_text()
        state = read_run_state(self.home)
        assert state is not None
        assert state.ready
        return state

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self) -> int:
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(scenario: str = "plain", *, port: int = 0) -> Running:
        running = Running(tmp_path / "home", scenario, port)
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            family = running.family()
            running.process.terminate()
            running.wait()
            assert all_gone(family)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_the_opposite_order_and_leaves_nothing(start: Start, number: int) -> None:
    running = start()
    running.wait_ready()
    family = running.family()
    assert len(family) >= 5  # supervisor, first, last, and the two sleeps of last
    running.process.send_signal(number)
    assert running.wait() == 0
    assert (running.home / "order").read_text().split() == ["once", "last", "first"]
    assert all_gone(family, 1.0)
    assert not (running.home / "run.json").exists()
    assert not is_locked(running.home)


def test_the_state_file_names_the_children_and_is_private(start: Start) -> None:
    running = start()
    state = running.wait_ready()
    assert state.pid == running.process.pid
    assert state.addresses == {"api": "http://127.0.0.1:0"}
    assert state.children["once"].state == "ended"
    assert psutil.pid_exists(state.children["first"].pid or -1)
    assert (running.home / "run.json").stat().st_mode & 0o777 == 0o600
    assert (running.home / "logs" / "first.log").stat().st_mode & 0o777 == 0o600


def test_kill_9_of_the_warden_leaves_nothing(start: Start) -> None:
    running = start()
    running.wait_ready()
    family = running.family()
    running.process.kill()
    assert running.wait() == -signal.SIGKILL
    assert all_gone(family)
    assert not is_locked(running.home)
    assert not (running.home / "run.json").exists()


def test_kill_9_of_the_supervisor_leaves_nothing_and_is_told(start: Start) -> None:
    running = start()
    state = running.wait_ready()
    family = running.family()
    os.kill(state.supervisor_pid, signal.SIGKILL)
    assert running.wait() == 1
    assert all_gone(family, 1.0)
    assert "supervisor was killed by SIGKILL" in running.errors.read_text()
    assert read_run_state(running.home) is None


def test_a_child_that_dies_is_started_again_with_one_line(start: Start) -> None:
    running = start()
    state = running.wait_ready()
    old = state.children["last"].pid
    assert old is not None
    left_behind = [p for p in psutil.Process(old).children() if os.getsid(p.pid) == old]
    assert left_behind
    os.kill(old, signal.SIGKILL)

    def restarted() -> bool:
        now = read_run_state(running.home)
        return now is not None and now.children["last"].pid not in {None, old}

    assert until(restarted)
    assert all_gone(left_behind)
    lines = [line for line in running.errors.read_text().splitlines() if "last was killed" in line]
    assert len(lines) == 1
    assert "starting it again in 0.5 s" in lines[0]


def test_a_stubborn_child_is_killed_after_its_grace(start: Start) -> None:
    running = start("stubborn")
    running.wait_ready()
    family = running.family()
    running.process.terminate()
    assert running.wait() == 0
    assert "last did not stop in 0.5 s; killing it" in running.errors.read_text()
    assert all_gone(family, 1.0)


def test_a_child_that_never_becomes_ready_ends_everything_with_its_log(start: Start) -> None:
    running = start("bad-start")
    assert running.wait() == 1
    told = running.errors.read_text()
    assert "last ended with status 3" in told
    assert "cannot open the thing" in told
    assert (running.home / "order").read_text().split() == ["once", "first"]


def test_on_ready_may_end_everything_with_a_status(start: Start) -> None:
    running = start("exit")
    assert running.wait() == 7


def test_a_second_up_on_the_same_home_says_who_runs(start: Start) -> None:
    running = start()
    running.wait_ready()
    second = subprocess.run(
        [sys.executable, "-m", "tests.platform.small_home", str(running.home), "plain"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert second.returncode == 1
    assert f"already runs on {running.home} (process {running.process.pid})" in second.stderr
    assert read_run_state(running.home) is not None


def test_a_busy_port_is_named_with_its_option_before_anything_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        running = start(port=port)
        assert running.wait() == 1
    told = running.errors.read_text()
    assert f"port {port} on 127.0.0.1 (API) is in use" in told
    assert "--api-port or MODELYARD_API__PORT" in told
    assert not (running.home / "order").exists()
