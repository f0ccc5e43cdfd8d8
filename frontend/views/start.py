"""The start page: what runs, what needs somebody, what it costs, and the first steps of a new organization."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from backend.billing import budgets
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.pagination import PageRequest
from backend.datasets import service as datasets
from backend.endpoints import service as endpoints
from backend.endpoints.repository import EndpointFilter
from backend.jobs import service as jobs
from backend.jobs import states
from backend.jobs.repository import JobFilter
from backend.registry import service as registry
from frontend import jobviews
from frontend.views import JobSummary

SHOWN = 5
FAILURES_COUNT_FOR = timedelta(days=7)
FINE = {"in_service", "creating", "updating"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One of the first steps. `key`: upload, train or deploy."""

    key: str
    done: bool
    path: str


@dataclass(frozen=True, kw_only=True)
class Worry:
    """Something that needs somebody. `kind`: job, endpoint, budget or hold; `share`: of a budget, from 0."""

    kind: str
    name: str
    text: str
    path: str
    status: str = ""
    at: datetime | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class EndpointLine:
    """An endpoint that answers, or is about to."""

    id: str
    name: str
    status: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class Start:
    """The page."""

    running: Sequence[JobSummary]
    endpoints: Sequence[EndpointLine]
    worries: Sequence[Worry]
    steps: Sequence[Step]

    @property
    def new(self) -> bool:
        """Whether some first step is left."""
        return not all(step.done for step in self.steps)


def read_start(session: Session, viewer: Principal) -> Start:
    """Everything on the page, in bounded questions."""
    scope, now = viewer.scope, database_now(session)
    running = [
        jobviews.summary(job, now=now, projects={}, costs={}) for job in jobs.list_unfinished(session, scope, SHOWN)
    ]
    details, _ = endpoints.list_endpoints(session, scope, EndpointFilter(), PageRequest(limit=SHOWN * 4))
    served = [one.endpoint for one in details]
    worries = [
        *_money(session, viewer),
        *(
            Worry(
                kind="endpoint",
                name=one.name,
                text=one.status_reason,
                path=f"/endpoints/{one.id}",
                status=one.status,
            )
            for one in served
            if one.status in {"failed", "out_of_service"}
        ),
        *_failures(session, viewer, now),
    ]
    shown = [
        EndpointLine(id=str(one.id), name=one.name, status=one.status, since=one.created_at)
        for one in served
        if one.status in FINE
    ]
    return Start(running=running, endpoints=shown[:SHOWN], worries=worries, steps=_steps(session, viewer, bool(served)))


def _money(session: Session, viewer: Principal) -> list[Worry]:
    found = [
        Worry(kind="hold", name="", text=hold.reason, path="/costs/budgets", at=hold.placed_at)
        for hold in budgets.list_holds(session, viewer.scope)
    ]
    for one in budgets.list_budgets(session, viewer.scope):
        if one.alerts or one.reached:
            share = 1.0 if one.budget.amount == 0 else float(one.spent / one.budget.amount)
            found.append(Worry(kind="budget", name="", text="", path="/costs/budgets", share=share))
    return found


def _failures(session: Session, viewer: Principal, now: datetime) -> list[Worry]:
    failed, _ = jobs.list_jobs(session, viewer.scope, JobFilter(status=states.FAILED), PageRequest(limit=SHOWN))
    return [
        Worry(
            kind="job",
            name=job.name,
            text=(job.failure or {}).get("reason") or job.status_reason,
            path=f"/training/{job.id}",
            status=job.status,
            at=job.ended_at,
        )
        for job in failed
        if job.created_at > now - FAILURES_COUNT_FOR
    ]


def _steps(session: Session, viewer: Principal, deployed: bool) -> list[Step]:  # noqa: FBT001 - one of three facts
    one = PageRequest(limit=1)
    uploaded = bool(datasets.list_datasets(session, viewer.scope, one)[0])
    trained = bool(registry.list_models(session, viewer.scope, one)[0])
    return [
        Step(key="upload", done=uploaded, path="/data/new"),
        Step(key="train", done=trained, path="/training/new"),
        Step(key="deploy", done=deployed, path="/endpoints/new"),
    ]
