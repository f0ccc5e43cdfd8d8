"""View models: what templates read, and what pages ask of the platform.

Times are timezone-aware datetimes in UTC, durations are seconds, sizes bytes, money exact decimals in US
dollars. A `None` means "not known (yet)" and is shown as a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from backend.core.auth import Principal
from backend.fleet.utilisation import Use


@dataclass(frozen=True, kw_only=True)
class ProjectLink:
    """A project the viewer can switch to."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Shell:
    """What the frame around every page shows."""

    email: str
    organization_name: str
    projects: Sequence[ProjectLink]
    active_jobs: int
    """Queued, starting, running or stopping."""
    month_to_date: Decimal | None
    budget: Decimal | None = None
    """The organization's monthly budget, the smallest where it has several."""
    held: bool = False
    """New spending is stopped."""

    @property
    def budget_share(self) -> float | None:
        """How much of the budget is spent, from 0; None without a budget."""
        if self.budget is None or self.month_to_date is None:
            return None
        return 1.0 if self.budget == 0 else float(self.month_to_date / self.budget)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A resource that a search found. `note`: its status or kind, in one word."""

    id: str
    name: str
    path: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class HitGroup:
    """What a search found of one kind: project, dataset, job, model or endpoint."""

    kind: str
    hits: Sequence[Hit]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one row of a bulk act."""

    name: str
    done: bool
    said: str


@dataclass(frozen=True, kw_only=True)
class JobQuery:
    """Filters, order and place of the job list, as they stand in the URL."""

    status: str | None = None
    kind: str | None = None
    text: str | None = None
    project: str | None = None
    sort: str | None = None
    cursor: str | None = None

    @property
    def filtered(self) -> bool:
        """Whether a filter leaves some jobs out."""
        return bool(self.status or self.kind or self.text or self.project or self.cursor)

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """URL parameters with `changes` applied; empty ones are left out."""
        every = {
            "status": self.status,
            "kind": self.kind,
            "text": self.text,
            "project": self.project,
            "sort": self.sort,
            "cursor": self.cursor,
        } | changes
        return {name: value for name, value in every.items() if value}


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """One job, as the list shows it. `progress` is a share in [0, 1]."""

    id: str
    name: str
    kind: str
    status: str
    final: bool
    stopping: bool
    project_name: str
    instance_type: str
    reason: str | None
    phase: str | None
    progress: float | None
    seconds_left: float | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    cost: Decimal | None


@dataclass(frozen=True, kw_only=True)
class JobList:
    """One page of jobs, and what the filters may be set to."""

    jobs: Sequence[JobSummary]
    next_cursor: str | None
    statuses: Sequence[str]
    kinds: Sequence[str]
    sorts: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ResourceLink:
    """Another page. `kind`: dataset, model (one it was given), made (a model version of this job)."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True, kw_only=True)
class CheckpointView:
    """A complete checkpoint."""

    step: int
    attempt: int
    at: datetime
    files: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ChargeLine:
    """What a job was charged of one SKU at one price."""

    sku: str
    unit: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal


@dataclass(frozen=True, kw_only=True)
class Bar:
    """An attempt on the timeline, or the wait before it; `left` and `width` in thousandths of the job's time."""

    attempt: int | None
    """None while it waits."""
    status: str
    left: float
    width: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One try of a job on an instance; `failure_class` where it failed."""

    number: int
    status: str
    instance: str
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None
    reason: str | None
    resumed_from_step: int | None = None
    failure_class: str | None = None


@dataclass(frozen=True, kw_only=True)
class EventView:
    """One change of status: when, of what, to what, why, by whom."""

    at: datetime
    subject: str
    """`job` or `attempt`."""
    to_status: str
    reason: str | None
    who: str


@dataclass(frozen=True, kw_only=True)
class FailureView:
    """Why a job failed, with the evidence."""

    failure_class: str
    reason: str
    hint: str | None
    exit_code: int | None
    peak_memory_bytes: int | None
    log_tail: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class JobDetail:
    """One job, as its page shows it."""

    summary: JobSummary
    failure: FailureView | None
    attempts: Sequence[AttemptView]
    events: Sequence[EventView]
    facts: Mapping[str, Mapping[str, Any]]
    """What was asked for and what came of it: parameters, inputs, output, tags; empty ones are left out."""
    links: Sequence[ResourceLink] = ()
    """The dataset version and model version it was given, and the model version it made."""
    checkpoints: Sequence[CheckpointView] = ()
    charges: Sequence[ChargeLine] = ()
    uncharged_seconds: Decimal = Decimal(0)
    """Metered and not charged yet."""
    timeline: Sequence[Bar] = ()
    next_name: str = ""
    """A name for the same job once more, that no job had when the page was made."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric series: columns of equal length; `times` are Unix seconds."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    times: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Every series at a version; `final` = none will follow. `series` None = nothing new since the version known."""

    version: str
    final: bool
    series: Sequence[Series] | None


@dataclass(frozen=True, kw_only=True)
class JobUse:
    """What a job's attempts used of their instances, by number, over its time from `begin` to `end`."""

    begin: datetime
    end: datetime
    final: bool
    attempts: Sequence[tuple[int, Use]]


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a job's output; `at` is None where the time is not known."""

    at: datetime | None
    text: str


@dataclass(frozen=True, kw_only=True)
class LogPage:
    """Lines, and the place after them. `more` = lines follow; `skipped` = a tail left earlier ones out."""

    lines: Sequence[LogLine]
    after: str
    more: bool
    skipped: bool


class Platform(Protocol):
    """What pages ask of the platform. Each call is one transaction.

    A job that is unknown or belongs to another organization raises a domain error with status 404.
    """

    def log_in(self, email: str, password: str, address: str) -> str | None:
        """The new session's token; None where email and password do not match. Raises TooMany.

        `address` is where the attempt comes from.
        """

    def log_out(self, token: str) -> None:
        """End the session; unknown tokens are ignored."""

    def identify(self, token: str) -> Principal | None:
        """Whose session it is; None where it is unknown or over."""

    def shell(self, viewer: Principal) -> Shell:
        """Figures of the frame."""

    def search(self, viewer: Principal, words: str) -> Sequence[HitGroup]:
        """Resources whose name begins with or holds `words`, a few of each kind; kinds without one are left out."""

    def list_jobs(self, viewer: Principal, query: JobQuery, *, limit: int) -> JobList:
        """One page of jobs, newest first unless `query.sort` says otherwise."""

    def get_job(self, viewer: Principal, job_id: str) -> JobDetail:
        """One job."""

    def read_metrics(self, viewer: Principal, job_id: str, *, known: str) -> Curves:
        """Every series of a job, unless the reader already has the version `known`."""

    def read_use(self, viewer: Principal, job_id: str) -> JobUse:
        """What the attempts of a job used, those that were measured."""

    def read_logs(self, viewer: Principal, job_id: str, *, after: str | None) -> LogPage:
        """Lines after a place (`""` = the beginning), or the tail where `after` is None."""

    def stop_job(self, viewer: Principal, job_id: str) -> None:
        """Ask for a stop; a job that is already final raises a domain error with status 409."""
