"""Whether the platform's parts work, asked now. What lies outside is asked with no session open and in bounded time."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.billing import console as bills
from backend.core import schema, ticks
from backend.core.clock import database_now
from backend.core.errors import DomainError
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.endpoints import console as endpoints
from backend.fleet import console as fleet
from frontend.backstage import Backstage

PROBE = "platform/health-probe"
QUEUE = "control"
LATE_SECONDS = {"control": 20.0, "beat": 60.0, "api": 10.0, "gateway": 30.0, "usage": 300.0}
"""Older than this is late: the control worker ticks every 2 s, beat rings every 5 s, a gateway asks every second."""
FULL, NEARLY_FULL = 0.97, 0.9
QUEUE_LONG = 1000


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part. `state`: good, warn or bad; `text` is built by the template from `key` and the figures."""

    key: str
    state: str
    seconds: float | None = None
    count: int | None = None
    total: int | None = None
    share: float | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class TickLine:
    """The last run of a control, and how long ago it was."""

    name: str
    worker: str
    ago_seconds: float
    seconds: float
    late: bool
    failure: str


@dataclass(frozen=True, kw_only=True)
class GatewayLine:
    """A gateway: the routing table it applies, and when it last asked."""

    name: str
    version: int | None
    seen_seconds: float | None
    late: bool


@dataclass(frozen=True, kw_only=True)
class Health:
    """The page."""

    checks: Sequence[Check]
    ticks: Sequence[TickLine]
    gateways: Sequence[GatewayLine]
    route_version: int | None

    @property
    def worst(self) -> str:
        """Of all checks."""
        states = {one.state for one in self.checks}
        return "bad" if "bad" in states else "warn" if "warn" in states else "good"


def read_health(back: Backstage) -> Health:
    """Ask everything. A part that does not answer is a line of the page, never its failure."""
    outside = [_broker(back.settings), _objects(back.storage), _disk(back.settings)]
    began = time.monotonic()
    try:
        with back.across() as session:
            database_now(session)
            answered = time.monotonic() - began
            lines = [_tick(*row) for row in ticks.read(session)]
            version = endpoints.route_version(session)
            gateways = [_gateway(name, known, age) for name, known, age in endpoints.gateways(session)]
            inside = [
                _api(fleet.api_beat(session)),
                _agents(*fleet.agents_heard(session)),
                _usage(*_waiting(session)),
            ]
        revision = schema.current_revision(back.database.engine) or ""
    except SQLAlchemyError as error:
        checks = [Check(key="database", state="bad", text=_first_line(error)), *outside]
        return Health(checks=checks, ticks=[], gateways=[], route_version=None)
    known = revision == schema.newest_revision()
    database = Check(key="database", state="good" if known else "bad", seconds=answered, text=revision)
    checks = [database, outside[0], *_workers(lines), *inside, _gateways(gateways), *outside[1:]]
    return Health(checks=checks, ticks=lines, gateways=gateways, route_version=version)


def _waiting(session: Session) -> tuple[int, float | None]:
    count, oldest = bills.waiting_usage(session)
    return count, None if oldest is None else (database_now(session) - oldest).total_seconds()


def _tick(row: ticks.ControlTick, ago: float) -> TickLine:
    limit = LATE_SECONDS["beat" if row.name == ticks.BEAT else "control"] + row.every_seconds
    fails = row.failed_at is not None and row.failed_at >= row.ran_at
    return TickLine(
        name=row.name,
        worker=row.worker,
        ago_seconds=float(ago),
        seconds=row.seconds,
        late=float(ago) > limit,
        failure=(row.failure or "") if fails else "",
    )


def _workers(lines: Sequence[TickLine]) -> list[Check]:
    controls = [one for one in lines if one.name != ticks.BEAT]
    beat = [one for one in lines if one.name == ticks.BEAT]
    age = min((one.ago_seconds for one in controls), default=None)
    failing = [one.name for one in controls if one.failure]
    state = "bad" if age is None or age > LATE_SECONDS["control"] else "warn" if failing else "good"
    heard = beat[0].ago_seconds if beat else None
    quiet = heard is None or heard > LATE_SECONDS["beat"]
    return [
        Check(key="worker", state=state, seconds=age, count=len(failing), text=", ".join(failing)),
        Check(key="beat", state="warn" if quiet else "good", seconds=heard),
    ]


def _gateway(name: str, version: int | None, age: float | None) -> GatewayLine:
    seen = None if age is None else float(age)
    return GatewayLine(
        name=name, version=version, seen_seconds=seen, late=seen is None or seen > LATE_SECONDS["gateway"]
    )


def _gateways(lines: Sequence[GatewayLine]) -> Check:
    late = sum(one.late for one in lines)
    state = "good" if lines and not late else "bad" if late == len(lines) else "warn"
    return Check(key="gateways", state=state, count=len(lines) - late, total=len(lines))


def _api(beat: tuple[float, float] | None) -> Check:
    if beat is None:
        return Check(key="api", state="warn")
    return Check(key="api", state="good" if beat[0] <= LATE_SECONDS["api"] else "bad", seconds=beat[1])


def _agents(ready: int, silent: int, longest: float | None) -> Check:
    return Check(key="agents", state="warn" if silent else "good", seconds=longest, count=ready - silent, total=ready)


def _usage(count: int, seconds: float | None) -> Check:
    late = seconds is not None and seconds > LATE_SECONDS["usage"]
    return Check(key="usage", state="warn" if late else "good", seconds=seconds, count=count)


def _broker(settings: Settings) -> Check:
    if settings.broker.url is None:
        return Check(key="broker", state="warn", text="MODELYARD_BROKER__URL")
    url = settings.broker.url.get_secret_value().replace("redis+socket:", "unix:", 1)
    client = redis.Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
    try:
        began = time.monotonic()
        client.ping()
        answered = time.monotonic() - began
        length = int(client.llen(QUEUE))
    except redis.RedisError as error:
        return Check(key="broker", state="bad", text=_first_line(error))
    finally:
        client.close()
    return Check(key="broker", state="warn" if length > QUEUE_LONG else "good", seconds=answered, count=length)


def _objects(storage: ObjectStore) -> Check:
    """Write a few bytes, read them back."""
    began = time.monotonic()
    said = str(time.time_ns()).encode()
    try:
        storage.put(PROBE, said)
        storage.get(PROBE)
    except DomainError as error:
        return Check(key="objects", state="bad", text=error.detail)
    return Check(key="objects", state="good", seconds=time.monotonic() - began)


def _disk(settings: Settings) -> Check:
    home = settings.home.absolute()
    place = next((one for one in (home, *home.parents) if one.exists()), Path("/"))
    used = shutil.disk_usage(place)
    share = 1 - used.free / used.total
    state = "bad" if share > FULL else "warn" if share > NEARLY_FULL else "good"
    return Check(key="disk", state=state, count=used.free, total=used.total, share=share)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
