"""The local provider with real machines: idempotent tags, proven termination, kill -9 of daemon and agent."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from backend.fleet.provisioners.local import (
    LocalMachineUnknown,
    LocalProviderRefused,
    LocalProviderUnavailable,
    LocalProvisioner,
)
from tests.platform.waiting import all_gone, until

ROOT = Path(__file__).parents[2]
AGENT = [sys.executable, str(Path(__file__).with_name("agent_stand_in.py"))]
ENVIRONMENT = {"MODELYARD_API_URL": "http://127.0.0.1:1", "MODELYARD_INSTANCE_TOKEN": "secret-token"}


class Host:
    """A daemon of its own on a short socket path."""

    def __init__(self, base: Path) -> None:
        self.home = base / "home"
        self.socket = base / "local.sock"
        self.provider = LocalProvisioner(self.socket)
        self.process = self._begin()

    def _begin(self) -> "subprocess.Popen[bytes]":
        arguments = ["--home", str(self.home), "--socket", str(self.socket), "--grace-seconds", "1"]
        arguments += ["--agent-command", json.dumps(AGENT)]
        process = subprocess.Popen([sys.executable, "-m", "worker.localhost", *arguments], cwd=ROOT)

        def answers() -> bool:
            try:
                return self.provider.list() is not None
            except LocalProviderUnavailable:
                return False

        assert until(answers)
        return process

    def restart_killed(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._begin()

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0

    def processes(self, tag: str) -> list[psutil.Process]:
        """Agent, child, child in a session of its own, cleared and orphaned grandchild."""
        pids = self.home / "instances" / tag / "pids"
        assert until(pids.exists)
        return [psutil.Process(int(word)) for word in pids.read_text().split()]

    def events(self, tag: str) -> list[dict[str, object]]:
        lines = (self.home / "localhost" / "log.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["tag"] == tag]

    def is_terminated(self, tag: str) -> Callable[[], bool]:
        return lambda: self.provider.describe(tag).state == "terminated"


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory() as base:
        host = Host(Path(base))
        yield host
        if host.process.poll() is None:
            host.end()


def test_a_machine_lives_and_is_terminated_without_a_process_left(host: Host) -> None:
    made = host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    assert (made.tag, made.shape) == ("i-1", "local.cpu")
    processes = host.processes("i-1")
    assert len(processes) == 4
    running = host.provider.describe("i-1")
    assert running.state == "running"
    assert running.launched_at is not None
    assert (host.home / "instances" / "i-1" / "environment").read_text() == "secret-token"
    assert host.provider.terminate("i-1").state == "shutting-down"
    assert until(host.is_terminated("i-1"))
    assert all_gone(processes, 0.0)
    ended = host.provider.describe("i-1")
    assert ended.terminated_at is not None
    assert ended.terminated_at > running.launched_at
    assert host.provider.list() == []
    assert not (host.home / "instances" / "i-1").exists()
    assert not list((host.home / "localhost" / "machines").iterdir())


def test_the_log_is_an_independent_record_of_seconds(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    host.processes("i-1")
    host.provider.terminate("i-1")
    assert until(host.is_terminated("i-1"))
    events = host.events("i-1")
    assert [e["event"] for e in events] == ["requested", "running", "booted", "stopping", "terminated"]
    machine = host.provider.describe("i-1")
    assert events[1]["wall_ns"] == machine.launched_at_ns
    assert events[-1]["wall_ns"] == machine.terminated_at_ns
    clocks = [int(str(e["monotonic_ns"])) for e in events]
    assert clocks == sorted(clocks)


def test_the_same_tag_is_the_same_machine_for_ever(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    first = host.processes("i-1")[0].pid
    again = host.provider.create("i-1", "other", {})
    assert again.shape == "local.cpu"
    assert [m.tag for m in host.provider.list()] == ["i-1"]
    assert host.processes("i-1")[0].pid == first
    host.provider.terminate("i-1")
    assert until(host.is_terminated("i-1"))
    assert host.provider.create("i-1", "local.cpu", ENVIRONMENT).state == "terminated"
    assert host.provider.terminate("i-1").state == "terminated"


def test_a_stubborn_machine_is_killed_after_the_grace(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT | {"MODELYARD_TEST_STUBBORN": "1"})
    processes = host.processes("i-1")
    host.provider.terminate("i-1")
    assert until(host.is_terminated("i-1"))
    assert all_gone(processes, 0.0)


def test_an_agent_that_dies_is_started_again(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    before = host.processes("i-1")
    (host.home / "instances" / "i-1" / "pids").unlink()
    before[0].kill()
    after = host.processes("i-1")
    assert after[0].pid != before[0].pid
    assert host.provider.describe("i-1").state == "running"
    host.provider.terminate("i-1")
    assert until(host.is_terminated("i-1"))
    # Also what the first agent left behind.
    assert all_gone([*before, *after], 0.0)


def test_sockets_that_a_killed_agent_left_go_with_its_machine(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    agent = host.processes("i-1")[0]
    (left,) = host.socket.parent.glob(f"*/sockets-of-{agent.pid}")
    assert left.parent.stat().st_mode & 0o777 == 0o711, "replicas and gateways are other users"
    agent.kill()
    assert all_gone([agent])
    host.provider.terminate("i-1")
    assert until(host.is_terminated("i-1"))
    assert not left.parent.exists()


def test_a_machine_whose_process_one_is_killed_boots_again(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    before = host.processes("i-1")
    (host.home / "instances" / "i-1" / "pids").unlink()
    psutil.Process(before[0].ppid()).kill()
    host.processes("i-1")
    names = [e["event"] for e in host.events("i-1")]
    assert names == ["requested", "running", "booted", "crashed", "booted"]
    assert all_gone(before, 0.0)


def test_a_killed_daemon_finds_its_machines_again(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    host.provider.create("i-2", "local.cpu", ENVIRONMENT)
    first, second = host.processes("i-1"), host.processes("i-2")
    launched = host.provider.describe("i-1").launched_at_ns
    host.process.kill()
    host.process.wait()
    with pytest.raises(LocalProviderUnavailable):
        host.provider.describe("i-1")
    (host.home / "instances" / "i-2" / "pids").unlink()
    second[0].kill()
    host.restart_killed()
    assert host.provider.describe("i-1").launched_at_ns == launched
    assert first[0].is_running()
    assert until(lambda: host.processes("i-2")[0].pid != second[0].pid)
    for tag in ("i-1", "i-2"):
        assert [e["event"] for e in host.events(tag)] == ["requested", "running", "booted"]
    host.provider.terminate("i-1")
    host.provider.terminate("i-2")
    assert until(host.is_terminated("i-1"))
    assert until(host.is_terminated("i-2"))
    assert all_gone([*first, *second], 0.0)


def test_a_daemon_killed_before_it_wrote_the_agent_down_adopts_it(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    agent = host.processes("i-1")[0]
    host.process.kill()
    host.process.wait()
    log = host.home / "localhost" / "log.jsonl"
    kept = [line for line in log.read_text().splitlines() if '"booted"' not in line]
    log.write_text("\n".join(kept) + '\n{"event":"booted","ta')  # a power cut in the middle of the line
    host.restart_killed()
    assert until(lambda: [e["event"] for e in host.events("i-1")] == ["requested", "running", "booted"])
    assert host.events("i-1")[-1]["pid"] == agent.ppid()
    assert agent.is_running()


def test_sigterm_terminates_every_machine_and_then_the_daemon(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    host.provider.create("i-2", "local.cpu", ENVIRONMENT)
    processes = host.processes("i-1") + host.processes("i-2")
    host.end()
    assert all_gone(processes, 0.0)
    assert host.events("i-2")[-1]["event"] == "terminated"
    assert not host.socket.exists()


def test_the_same_tag_on_another_home_is_another_machine(host: Host) -> None:
    with tempfile.TemporaryDirectory() as base:
        other = Host(Path(base))
        for each in (host, other):
            each.provider.create("i-1", "local.cpu", ENVIRONMENT)
        mine, theirs = host.processes("i-1"), other.processes("i-1")
        other.end()
        assert all_gone(theirs, 0.0)
        assert all(process.is_running() for process in mine)


def test_an_injected_fault_fails_one_create_and_leaves_nothing(host: Host) -> None:
    host.provider.fail_next_create("no capacity in this zone")
    with pytest.raises(LocalProviderRefused, match="no capacity in this zone") as refusal:
        host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    assert refusal.value.code == "insufficient-capacity"
    with pytest.raises(LocalMachineUnknown):
        host.provider.describe("i-1")
    assert host.provider.create("i-1", "local.cpu", ENVIRONMENT).state in {"pending", "running"}


def test_bad_tags_and_unknown_machines_are_refused(host: Host) -> None:
    for tag in ("", "../x", "A", "-a", "a" * 64):
        with pytest.raises(LocalProviderRefused, match="a tag has"):
            host.provider.create(tag, "local.cpu", {})
    assert host.provider.list() == []
    for call in (host.provider.describe, host.provider.terminate):
        with pytest.raises(LocalMachineUnknown):
            call("i-9")
    with pytest.raises(LocalMachineUnknown):
        host.provider.describe("../../etc")


def test_only_this_user_can_connect_and_read(host: Host) -> None:
    host.provider.create("i-1", "local.cpu", ENVIRONMENT)
    host.processes("i-1")
    assert host.socket.stat().st_mode & 0o777 == 0o700
    secret = host.home / "localhost" / "machines" / "i-1.json"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (host.home / "instances").stat().st_mode & 0o777 == 0o700
    assert host.process.pid != os.getpid()
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(20) == 0
