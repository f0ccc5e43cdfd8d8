"""The admin console's view models, and how they are read: across all organizations, as the role *operator*."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from backend.billing import console as bills
from backend.billing import costs
from backend.billing.pricing import list_prices
from backend.core.clock import database_now
from backend.core.errors import RouteNotFound
from backend.core.ids import floor_id
from backend.core.pagination import PageRequest
from backend.endpoints import console as endpoints
from backend.fleet import console as fleet
from backend.fleet.models import Quota
from backend.identity import console as identity
from backend.identity.models import Organization
from backend.jobs import console as jobs
from backend.jobs import states
from backend.jobs.models import Job
from frontend import jobviews
from frontend.figures import Figure, FigureSeries

DAYS = 30
NAMED = 7
"""Organizations with a layer of their own in a chart; the others are summed."""
FAILURES_SHOWN = 8
WAITING = (states.QUEUED, states.PROVISIONING)


@dataclass(frozen=True, kw_only=True)
class ConsoleJob:
    """A job of any organization. `seconds`: waited or lasted so far."""

    id: str
    name: str
    kind: str
    status: str
    organization_id: str
    organization: str
    instance_type: str
    reason: str
    created_at: datetime
    final: bool
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class OrganizationLine:
    """An organization in the list. `quota`: instances over all types it may have; None = no such quota."""

    id: str
    account_id: str
    name: str
    created_at: datetime
    members: int
    instances: int
    jobs: int
    quota: int | None
    spent: Decimal
    suspended: bool
    held: bool


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The console's first page."""

    month: Decimal
    today: Decimal
    organizations: int
    instances: int
    endpoints: int
    endpoints_failed: int
    queue: Sequence[tuple[str, int, float]]
    """(status, how many, seconds that the oldest waits) of jobs that have not ended."""
    failures: Sequence[tuple[str, int]]
    """(class, how many) in 24 hours."""
    newest_failures: Sequence[ConsoleJob]
    by_organization: Sequence[tuple[str, str, Decimal]]
    """(id, name, spent this month), the largest first."""
    unrated: int
    unrated_seconds: float | None
    unpriced: Sequence[str]

    @property
    def waiting(self) -> int:
        """Jobs without an instance."""
        return sum(count for status, count, _ in self.queue if status in WAITING)

    @property
    def waiting_seconds(self) -> float | None:
        """Of the one that waits longest."""
        return max((age for status, _, age in self.queue if status in WAITING), default=None)

    @property
    def failed(self) -> int:
        """In 24 hours, up to `FAILURES_COUNTED`."""
        return sum(count for _, count in self.failures)

    @property
    def failed_more(self) -> bool:
        """There may be more than were counted."""
        return self.failed >= jobs.FAILURES_COUNTED


def read_overview(session: Session) -> Overview:
    """Everything on the first page."""
    now = database_now(session)
    month = bills.spend_by_organization(session, costs.month_start(now), now)
    today = bills.spend_by_organization(session, _day(now), now)
    largest = sorted(month.items(), key=lambda pair: pair[1], reverse=True)[:10]
    since = floor_id(now - timedelta(hours=24))
    failed = jobs.newest_failures(session, since, FAILURES_SHOWN)
    names = identity.names(session, {*(one for one, _ in largest), *(job.organization_id for job in failed)})
    served = endpoints.count_by_status(session)
    unrated, oldest = bills.waiting_usage(session)
    return Overview(
        month=sum(month.values(), Decimal(0)),
        today=sum(today.values(), Decimal(0)),
        organizations=identity.count_organizations(session),
        instances=sum(row[2] for row in fleet.count_open(session)),
        endpoints=sum(served.values()),
        endpoints_failed=served.get("failed", 0),
        queue=[(row[0], row[1], (now - row[2]).total_seconds()) for row in jobs.queue(session)],
        failures=[(row[0], row[1]) for row in jobs.failures_since(session, since)],
        newest_failures=[_job(one, names, now) for one in failed],
        by_organization=[(str(one), names.get(one, str(one)), amount) for one, amount in largest],
        unrated=unrated,
        unrated_seconds=None if oldest is None else (now - oldest).total_seconds(),
        unpriced=bills.unpriced_skus(session) if unrated else [],
    )


def read_spend_figure(session: Session, others: str, note: str) -> Figure:
    """Spend per day over `DAYS` days, a layer for each of the largest organizations, `others` for the rest."""
    now = database_now(session)
    first = _day(now) - timedelta(days=DAYS - 1)
    days = [(first + timedelta(days=number)).date() for number in range(DAYS)]
    amounts: dict[UUID, dict[str, Decimal]] = {}
    for organization_id, at, amount in bills.spend_by_day(session, first, now):
        amounts.setdefault(organization_id, {})[at.isoformat()] = amount
    ordered = sorted(amounts, key=lambda one: sum(amounts[one].values()), reverse=True)
    names = identity.names(session, ordered[:NAMED])
    layers = [(names.get(one, str(one)), amounts[one]) for one in ordered[:NAMED]]
    rest: dict[str, Decimal] = {}
    for one in ordered[NAMED:]:
        for written, amount in amounts[one].items():
            rest[written] = rest.get(written, Decimal(0)) + amount
    if rest:
        layers.append((others, rest))
    series = [
        FigureSeries(name=name, values=[float(found.get(day.isoformat(), 0)) for day in days]) for name, found in layers
    ]
    return Figure(kind="bars", unit="usd", x=[day.isoformat() for day in days], series=series, note=note)


def read_organizations(
    session: Session, words: str, request: PageRequest
) -> tuple[Sequence[OrganizationLine], str | None]:
    """One page of organizations, newest first, and the next page's cursor."""
    now = database_now(session)
    found, cursor = identity.page(session, words, request)
    return _lines(session, found, now), cursor


def _lines(session: Session, found: Sequence[Organization], now: datetime) -> list[OrganizationLine]:
    ids = [one.id for one in found]
    members = identity.count_members(session, ids)
    spent = bills.spend_by_organization(session, costs.month_start(now), now)
    running = jobs.unfinished_by_organization(session)
    instances: dict[UUID, int] = {}
    for organization_id, _, count in fleet.count_open(session):
        instances[organization_id] = instances.get(organization_id, 0) + count
    quotas = {one.organization_id: one.max_instances for one in fleet.quotas(session, ids) if one.instance_type == "*"}
    holds = bills.open_holds(session)
    held = {one.organization_id for one in holds}
    suspended = {one.organization_id for one in holds if one.placed_by is not None}
    return [
        OrganizationLine(
            id=str(one.id),
            account_id=one.account_id,
            name=one.name,
            created_at=one.created_at,
            members=members.get(one.id, 0),
            instances=instances.get(one.id, 0),
            jobs=running.get(one.id, 0),
            quota=quotas.get(one.id),
            spent=spent.get(one.id, Decimal(0)),
            suspended=one.id in suspended,
            held=one.id in held,
        )
        for one in found
    ]


@dataclass(frozen=True, kw_only=True)
class OrganizationPage:
    """One organization: who owns it, what it may have, what stops its spending."""

    line: OrganizationLine
    owners: Sequence[str]
    requests_per_minute: int | None
    """None = as many as the platform's setting says."""
    quotas: Sequence[Quota]
    holds: Sequence[tuple[str, datetime, bool]]
    """(reason, since, whether an operator placed it)."""


def check_organization(session: Session, organization_id: UUID) -> Organization:
    """The organization. Raises RouteNotFound."""
    found = identity.find(session, organization_id)
    if found is None:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.")
    return found


def read_organization(session: Session, organization_id: UUID) -> OrganizationPage:
    """One organization. Raises RouteNotFound."""
    found = check_organization(session, organization_id)
    return OrganizationPage(
        line=_lines(session, [found], database_now(session))[0],
        owners=identity.owners(session, organization_id),
        requests_per_minute=found.requests_per_minute,
        quotas=fleet.quotas(session, [organization_id]),
        holds=[
            (one.reason, one.placed_at, one.placed_by is not None) for one in bills.open_holds(session, organization_id)
        ],
    )


@dataclass(frozen=True, kw_only=True)
class InstanceUse:
    """What an instance's work used when it was last measured. `gpu_share` in [0, 1]; None = no GPU measured."""

    cpu_cores: float
    cpu_count: float
    memory_bytes: int
    memory_limit_bytes: int
    gpu_share: float | None


@dataclass(frozen=True, kw_only=True)
class InstanceLine:
    """A machine: whose it is, what it does, what an hour of it costs; `silent_seconds` since its agent spoke."""

    id: str
    organization_id: str
    organization: str
    instance_type: str
    market: str
    provider: str
    status: str
    reason: str
    requested_at: datetime
    ready_at: datetime | None
    draining: bool
    work: str
    work_name: str
    """`work`: job, endpoint, hold, idle or none (not ready yet)."""
    hourly: Decimal | None
    silent_seconds: float | None
    use: InstanceUse | None


def read_instances(
    session: Session, organization_id: UUID | None, after: UUID | None, limit: int
) -> tuple[Sequence[InstanceLine], str | None]:
    """One page of instances that are not terminated, newest first, and the id to go on after."""
    now = database_now(session)
    rows = fleet.open_instances(session, organization_id=organization_id, after=after, limit=limit + 1)
    names = identity.names(session, {row.organization_id for row in rows})
    prices = {one.sku: one.amount for one in list_prices(session, at=now)}
    lines = []
    for row in rows[:limit]:
        price = prices.get(f"instance:{row.instance_type}:{row.market}")
        idle = "idle" if row.status == "ready" else ""
        lines.append(
            InstanceLine(
                id=str(row.id),
                organization_id=str(row.organization_id),
                organization=names.get(row.organization_id, ""),
                instance_type=row.instance_type,
                market=row.market,
                provider=row.provider,
                status=row.status,
                reason=row.interruption_notice or row.status_reason,
                requested_at=row.requested_at,
                ready_at=row.ready_at,
                draining=row.drain_requested_at is not None,
                work=row.resource_kind or ("hold" if row.hold_reason else idle),
                work_name=row.resource_name or row.hold_reason or "",
                hourly=None if price is None else price * 3600,
                silent_seconds=None if row.heard_at is None else (now - row.heard_at).total_seconds(),
                use=_use(row),
            )
        )
    return lines, lines[-1].id if len(rows) > limit else None


def _use(row: Row) -> InstanceUse | None:  # type: ignore[type-arg]  # columns are named where they are read
    if row.cpu_cores is None:
        return None
    return InstanceUse(
        cpu_cores=row.cpu_cores,
        cpu_count=row.cpu_count,
        memory_bytes=round(row.memory_bytes),
        memory_limit_bytes=row.memory_limit_bytes,
        gpu_share=row.gpu_share,
    )


def read_jobs(
    session: Session, where: jobs.ConsoleFilter, request: PageRequest
) -> tuple[Sequence[ConsoleJob], str | None]:
    """One page of all organizations' jobs, newest first, and the next page's cursor."""
    found, cursor = jobs.page(session, where, request)
    names = identity.names(session, {one.organization_id for one in found})
    now = database_now(session)
    return [_job(one, names, now) for one in found], cursor


def _job(job: Job, names: Mapping[UUID, str], now: datetime) -> ConsoleJob:
    failure = (job.failure or {}).get("reason")
    return ConsoleJob(
        id=str(job.id),
        name=job.name,
        kind=job.kind,
        status=job.status,
        organization_id=str(job.organization_id),
        organization=names.get(job.organization_id, str(job.organization_id)),
        instance_type=job.instance_type,
        reason=failure or jobviews.plain_reason(job.status_reason, job.status) or "",
        created_at=job.created_at,
        final=job.status in states.FINAL,
        seconds=jobviews.seconds_between(job.started_at or job.created_at, job.ended_at, now),
    )


def _day(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
