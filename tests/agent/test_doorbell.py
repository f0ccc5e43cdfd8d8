"""The doorbell on a real broker, under a user that may touch its own keys only."""

import time
import uuid

import psutil
import pytest
import redis

from backend.core.bell import Bell
from backend.core.db import Doorbell
from backend.core.wire import Started
from backend.fleet import broker_users
from backend.platform.embedded_valkey import EmbeddedValkey
from tests.agent.conftest import Agents, attempt
from tests.agent.control_server import ControlServer

pytestmark = pytest.mark.integration


def _prepare(control: ControlServer, valkey: EmbeddedValkey) -> str:
    instance = str(uuid.uuid4())
    with redis.Redis.from_url(valkey.url()) as admin:
        rights = broker_users.rights(uuid.UUID(instance))
        admin.execute_command("ACL", "SETUSER", instance, "reset", "on", ">secret", *rights)
    control.broker_url = valkey.broker_url(username=instance, password="secret")
    control.broker_prefix = f"{instance}:"
    control.broker_queue = "agent"
    control.heartbeat_seconds = 60.0
    return instance


def _rings(control: ControlServer, bell: Bell, queue: str) -> float:
    """Seconds from a new assignment's doorbell to its start report."""
    wanted = attempt("agent_sleeper", {"steps": 1})
    control.want(wanted)
    began = time.monotonic()
    while not control.bodies(wanted.id, Started):
        bell([Doorbell("agent.sync", queue=queue)])
        time.sleep(0.2)
        assert time.monotonic() - began < 25
    return time.monotonic() - began


def test_a_doorbell_wakes_the_agent(control: ControlServer, agents: Agents, embedded_valkey: EmbeddedValkey) -> None:
    instance = _prepare(control, embedded_valkey)
    agent = agents.start()
    control.wait(lambda: control.syncs)
    bell = Bell(embedded_valkey.broker_url())
    _rings(control, bell, f"{instance}:agent")
    assert _rings(control, bell, f"{instance}:agent") < 5
    with redis.Redis.from_url(embedded_valkey.url()) as admin:
        admin.flushall()
        admin.client_kill_filter(user=instance)
    assert _rings(control, bell, f"{instance}:agent") < 20
    memory = psutil.Process(agent.process.pid).memory_info().rss
    assert memory < 100 << 20, f"{memory / 2**20:.1f} MiB"
    assert "doorbell:" not in agent.log.read_text()


def test_a_wrong_broker_costs_only_promptness(control: ControlServer, agents: Agents) -> None:
    control.broker_url = "redis://nobody:wrong@127.0.0.1:1/0"
    wanted = attempt("agent_sleeper", {"steps": 1})
    control.want(wanted)
    agent = agents.start()
    assert control.wait_ended(wanted.id).outcome == "completed"
    assert agent.stop() == 0
