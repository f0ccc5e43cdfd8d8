"""`modelyard up` as a person meets it: a second one, a busy port, Ctrl-C, a restart in the middle of a job."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Callable

import psutil
import pytest

from backend.platform.folders import runtime_folder
from backend.platform.home import is_locked
from modelyard.types import Job
from tests.chaos.story import check_billed_once, has_checkpoint
from tests.fixtures.platform import ON_PLATFORM, ROOT, RunningPlatform, wait_for

pytestmark = ON_PLATFORM


def run(platform: RunningPlatform) -> "subprocess.CompletedProcess[str]":
    """Run its command until it ends by itself."""
    return subprocess.run(
        platform.command(),
        cwd=ROOT,
        env=platform.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_second_up_on_the_same_home_says_who_runs_and_harms_nothing(platform: RunningPlatform) -> None:
    before = {name: platform.child(name).pid for name in ("postgres", "api", "worker", "localhost")}
    ended = run(platform)
    assert ended.returncode == 1
    assert f"already runs on {platform.home}" in ended.stderr
    assert str(platform.process.pid) in ended.stderr
    assert {name: platform.child(name).pid for name in before} == before
    assert platform.client().me()


def test_it_listens_on_three_ports_of_this_host_alone(platform: RunningPlatform) -> None:
    heard = set()
    for process in platform.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            heard |= {one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    # gRPC writes this address as one of IPv6.
    addresses = {(host.removeprefix("::ffff:"), port) for host, port in heard}
    assert addresses == {("127.0.0.1", port) for port in (platform.api_port, platform.gateway_port, platform.grpc_port)}


def test_a_busy_port_is_named_with_the_option_that_changes_it(new_platform: Callable[[], RunningPlatform]) -> None:
    stopped = new_platform()
    for number, option in (
        ("api_port", "--api-port"),
        ("gateway_port", "--gateway-port"),
        ("grpc_port", "--grpc-port"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as holder:
            free, busy = getattr(stopped, number), holder.getsockname()[1]
            setattr(stopped, number, busy)
            ended = run(stopped)
            setattr(stopped, number, free)
        assert ended.returncode == 1
        assert f"port {busy}" in ended.stderr
        assert option in ended.stderr
        assert "Traceback" not in ended.stderr
    assert not (stopped.home / "postgres" / "data").exists(), "nothing was begun"
    assert stopped.processes() == []


@pytest.mark.slow
def test_a_restart_keeps_everything_and_a_job_in_the_middle_goes_on(
    new_platform: Callable[[], RunningPlatform],
) -> None:
    own = new_platform()
    own.up()
    modes = [oct((own.home / name).stat().st_mode & 0o777) for name in (".", "owner.json", "secrets.json")]
    assert modes == ["0o700", "0o600", "0o600"]
    credentials = own.owner
    client = own.client()
    project = client.projects.create("lasting")
    short = client.jobs.sleep(project.id, "short", seconds=0.5)
    long = client.jobs.sleep(project.id, "long", seconds=8.0)
    short = client.jobs.wait(short.id, timeout_seconds=90)
    wait_for("a checkpoint of the long job", lambda: has_checkpoint(own, long), seconds=90)
    own.down(signal.SIGTERM)
    assert not is_locked(own.home)
    assert not (own.home / "run.json").exists()
    own.up()
    assert own.owner == credentials
    found = {job.name: job for job in client.jobs.list()}
    assert found.keys() == {"short", "long"}
    assert found["short"] == short, "what had ended is as it was"
    check_resumed(own, long)
    own.down(signal.SIGINT)
    assert own.processes() == []
    assert not any(runtime_folder(own.home).glob("*.sock"))


def check_resumed(own: RunningPlatform, job: Job) -> None:
    """The job goes on from its checkpoint in a second attempt, and its seconds are billed once."""
    client = own.client()
    ended = client.jobs.wait(job.id, timeout_seconds=90)
    assert ended.attempt_count == 2
    first, second = sorted(client.jobs.attempts(job.id), key=lambda each: each.number)
    assert first.status == "interrupted"
    assert second.status == "completed"
    lines = [line.text for line in client.jobs.logs(job.id) if line.attempt == 2]
    assert any("already slept" in line and ", 0 s of them" not in line for line in lines), lines
    wait_for("its machines to be gone", lambda: len(own.on_instances("worker.agent")) == 0)
    check_billed_once(own, client, job)
