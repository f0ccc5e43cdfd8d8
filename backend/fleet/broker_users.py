"""Broker users of agents: derived from rows, never stored. Each may touch its own instance's keys only.

A lost user is made again by the instance controller's next look; the password is an HMAC of the instance id, so any
process with the secret derives the same.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from backend.core.bell import agent_password
from backend.core.settings import Settings

log = structlog.get_logger(__name__)


LISTINGS = ("-scan", "-randomkey", "-pubsub", "-dbsize", "-function", "-script|flush", "-script|kill")
"""Commands that key patterns do not narrow: they would name other instances' keys and channels, or take their
scripts away.
"""


def rights(instance_id: UUID) -> list[str]:
    """ACL rules: everything harmless, on the keys and channels under the instance's own prefix."""
    prefix = f"{instance_id}:*"
    return [f"~{prefix}", f"&{prefix}", "+@all", "-@admin", "-@dangerous", "+info", *LISTINGS]


def ensure(settings: Settings, instance_id: UUID) -> None:
    """Create or renew the user of this instance's agent. A broker that is down costs only doorbells."""
    client = _client(settings)
    if client is None or settings.broker.agent_secret is None:
        return
    _try(client, *_set_user(settings.broker.agent_secret.get_secret_value(), instance_id))


def ensure_all(settings: Settings, instance_ids: Sequence[UUID]) -> None:
    """Create the users of these instances' agents that the broker does not know, in two round trips."""
    client = _client(settings)
    if client is None or settings.broker.agent_secret is None or not instance_ids:
        return
    secret = settings.broker.agent_secret.get_secret_value()
    try:
        known = {_text(name) for name in client.acl_users()}
        pipeline = client.pipeline(transaction=False)
        for each in instance_ids:
            if str(each) not in known:
                pipeline.execute_command(*_set_user(secret, each))  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        pipeline.execute()
    except redis.RedisError as error:
        log.debug("broker_users_not_changed", error=str(error))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _set_user(secret: str, instance_id: UUID) -> list[str]:
    password = agent_password(secret, str(instance_id))
    return ["ACL", "SETUSER", str(instance_id), "reset", "on", f">{password}", *rights(instance_id)]


def remove(settings: Settings, instance_id: UUID) -> None:
    """The instance is gone: nobody may use its name, and its doorbells are forgotten."""
    client = _client(settings)
    if client is not None:
        _try(client, "ACL", "DELUSER", str(instance_id))
        _try(client, "DEL", f"{instance_id}:agent")


def _client(settings: Settings) -> "redis.Redis | None":
    if settings.broker.url is None:
        return None
    return _connect(settings.broker.url.get_secret_value().replace("redis+socket:", "unix:", 1))


@lru_cache(maxsize=4)
def _connect(url: str) -> "redis.Redis":
    """One client per broker: it keeps its connections. A broker that is down is asked once, not again and again."""
    return redis.Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))


def _try(client: "redis.Redis", *command: str) -> None:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
    except redis.RedisError as error:
        log.debug("broker_user_not_changed", error=str(error))
