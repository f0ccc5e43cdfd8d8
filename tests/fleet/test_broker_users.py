"""Derived broker users on a real Valkey: an agent's doorbell queue, and nothing else."""

from collections.abc import Iterator

import pytest
import redis
from pydantic import SecretStr

from backend.core.bell import agent_password
from backend.core.ids import new_id
from backend.core.settings import BrokerSettings, Settings
from backend.fleet import broker_users
from backend.platform.embedded_valkey import EmbeddedValkey
from tests.fleet.conftest import Fleet
from worker.context import ControlContext

pytestmark = pytest.mark.integration

SECRET = "a secret of the control plane"


@pytest.fixture
def settings(api_settings: Settings, embedded_valkey: EmbeddedValkey) -> Settings:
    broker = BrokerSettings(url=SecretStr(embedded_valkey.broker_url()), agent_secret=SecretStr(SECRET))
    return api_settings.model_copy(update={"broker": broker})


@pytest.fixture
def admin(embedded_valkey: EmbeddedValkey) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(embedded_valkey.url()) as client:
        yield client


def as_agent(valkey: EmbeddedValkey, name: str) -> "redis.Redis":
    return redis.Redis.from_url(valkey.url(username=name, password=agent_password(SECRET, name)))


def test_an_agent_reaches_its_own_queue_and_nothing_else(
    settings: Settings, admin: "redis.Redis", embedded_valkey: EmbeddedValkey
) -> None:
    mine, other = new_id(), new_id()
    broker_users.ensure(settings, mine)
    broker_users.ensure(settings, other)
    admin.lpush(f"{mine}:agent", "ding")
    admin.lpush(f"{other}:agent", "not yours")
    admin.lpush("control", "not yours")
    refused = [
        ("BRPOP", f"{other}:agent", "0.1"),
        ("BRPOP", "control", "0.1"),
        ("LPUSH", "control", "x"),
        ("EVAL", "return redis.call('LPUSH', KEYS[1], 'x')", "1", "control"),
        ("EVAL", "return redis.call('LPUSH', 'control', 'x')", "0"),
        ("SUBSCRIBE", f"{other}:news"),
        ("PUBLISH", f"{other}:news", "x"),
        ("PUBLISH", "news", "x"),
        ("PUBLISH", "/0.celery.pidbox", "x"),
        ("SUBSCRIBE", "/0.celery.pidbox"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("PUBSUB", "CHANNELS"),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("SHUTDOWN",),
    ]
    with as_agent(embedded_valkey, str(mine)) as agent:
        assert agent.brpop([f"{mine}:agent"], timeout=1) == (f"{mine}:agent".encode(), b"ding")
        agent.lpush(f"{mine}:unacked", "x")
        agent.publish(f"{mine}:news", "x")
        for command in refused:
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|ACL"):
                agent.execute_command(*command)
    assert admin.lrange("control", 0, -1) == [b"not yours"]
    admin.delete("control")


def test_a_wrong_password_is_refused(settings: Settings, admin: "redis.Redis", embedded_valkey: EmbeddedValkey) -> None:
    instance = new_id()
    broker_users.ensure(settings, instance)
    url = embedded_valkey.url(username=str(instance), password=agent_password("another secret", str(instance)))
    with redis.Redis.from_url(url) as agent, pytest.raises(redis.AuthenticationError):
        agent.ping()
    assert str(instance) in admin.acl_users()


def test_a_lost_user_is_made_again_and_a_gone_one_removed(
    machines: Fleet, settings: Settings, admin: "redis.Redis", embedded_valkey: EmbeddedValkey
) -> None:
    context = machines.context
    with_broker = context.settings.model_copy(update={"broker": settings.broker})
    machines.context = ControlContext(context.database, with_broker, context.storage, None)
    instance_id = machines.ready().instance_id
    assert str(instance_id) in admin.acl_users()
    admin.acl_deluser(str(instance_id))
    admin.flushall()
    assert machines.look(instance_id) == "ready"
    with as_agent(embedded_valkey, str(instance_id)) as agent:
        agent.lpush(f"{instance_id}:agent", "x")
        # A renewal does not throw the agent out.
        assert machines.look(instance_id) == "ready"
        assert agent.llen(f"{instance_id}:agent") == 1
    machines.host.provider.terminate(machines.row(instance_id).tag)
    machines.end(instance_id)
    assert str(instance_id) not in admin.acl_users()
    assert admin.exists(f"{instance_id}:agent") == 0


def test_a_broker_that_is_down_costs_no_step(machines: Fleet) -> None:
    broker = BrokerSettings(url=SecretStr("redis://nobody:x@127.0.0.1:1/0"), agent_secret=SecretStr(SECRET))
    context = machines.context
    without = context.settings.model_copy(update={"broker": broker})
    machines.context = ControlContext(context.database, without, context.storage, None)
    instance_id = machines.ready().instance_id
    assert machines.look(instance_id) == "ready"
