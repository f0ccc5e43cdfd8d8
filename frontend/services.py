"""`views.Platform` over the domains' services: each call one transaction in the viewer's tenant.

Objects (log chunks) are fetched after the transaction, with no session open.
"""

from datetime import UTC, datetime
from uuid import UUID

from backend.billing import budgets, costs
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.errors import RouteNotFound, Unauthorized
from backend.core.pagination import PageRequest
from backend.core.storage import ObjectStore
from backend.identity import service as identity
from backend.identity.errors import WrongCredentials
from backend.identity.security import Security
from backend.jobs import kinds, logs, metrics, states
from backend.jobs import service as jobs
from backend.jobs.repository import JobFilter, Order
from frontend import jobviews
from frontend.jobdetail import detail, project_links
from frontend.views import Curves, HitGroup, JobDetail, JobList, JobQuery, JobUse, LogLine, LogPage, Series, Shell
from frontend.views.search import find_everywhere

TAIL_CHUNKS = 50
SORTS: dict[str, Order] = {"name": "name", "created_at": "created_at"}
"""By the word in the address. What has an index, so that a million jobs turn as fast as ten."""
TAIL_LINES = 400
"""What a page shows at first: many lines are slow to paint, and the search finds the rest."""


class Services:
    """The platform as pages see it. `database` connects as the app role."""

    def __init__(self, database: Database, storage: ObjectStore, security: Security) -> None:
        self._database = database
        self._storage = storage
        self._security = security

    def log_in(self, email: str, password: str, address: str) -> str | None:
        """See `Platform`."""
        try:
            with self._database.unit_of_work() as session:
                made = identity.log_in(session, self._security, email=email, password=password, address=address)
                return made.token
        except WrongCredentials:
            return None

    def log_out(self, token: str) -> None:
        """See `Platform`."""
        with self._database.unit_of_work() as session:
            identity.log_out(session, token)

    def identify(self, token: str) -> Principal | None:
        """See `Platform`."""
        try:
            with self._database.unit_of_work() as session:
                return identity.authenticate_session(session, token)
        except Unauthorized:
            return None

    def shell(self, viewer: Principal) -> Shell:
        """See `Platform`."""
        with self._database.unit_of_work(viewer.scope) as session:
            me = identity.describe_caller(session, viewer)
            return Shell(
                email=me.email or "",
                organization_name=me.organization.name,
                projects=project_links(session, viewer),
                active_jobs=jobs.count_unfinished(session, viewer.scope),
                month_to_date=costs.charged_this_month(session, viewer.scope),
                budget=budgets.smallest_amount(session, viewer.scope),
                held=budgets.open_hold(session, viewer.scope, None) is not None,
            )

    def search(self, viewer: Principal, words: str) -> list[HitGroup]:
        """See `Platform`."""
        with self._database.unit_of_work(viewer.scope) as session:
            return find_everywhere(session, viewer.scope, words)

    def list_jobs(self, viewer: Principal, query: JobQuery, *, limit: int) -> JobList:
        """See `Platform`."""
        where = JobFilter(
            project_id=None if query.project is None else parse_id(query.project),
            kind=query.kind,
            status=query.status,
            name_contains=query.text,
        )
        sort = query.sort if query.sort and query.sort.removeprefix("-") in SORTS else "-created_at"
        order, descending = SORTS[sort.removeprefix("-")], sort.startswith("-")
        with self._database.unit_of_work(viewer.scope) as session:
            page = PageRequest(limit=limit, cursor=query.cursor)
            shown, next_cursor = jobs.list_jobs(session, viewer.scope, where, page, order=order, descending=descending)
            names = {UUID(one.id): one.name for one in project_links(session, viewer)}
            charged = costs.charged_to(session, viewer.scope, "job", [job.id for job in shown])
            now = database_now(session)
            return JobList(
                jobs=[jobviews.summary(job, now=now, projects=names, costs=charged) for job in shown],
                next_cursor=next_cursor,
                statuses=states.ALL,
                kinds=kinds.names(),
                sorts=[*SORTS],
            )

    def get_job(self, viewer: Principal, job_id: str) -> JobDetail:
        """See `Platform`."""
        with self._database.unit_of_work(viewer.scope) as session:
            job = jobs.get_job(session, viewer.scope, parse_id(job_id))
            attempts = jobs.list_attempts(session, viewer.scope, job.id)
            events = jobs.list_events(session, viewer.scope, job.id)
            return detail(session, viewer, job, attempts, events=[jobviews.event_view(e, viewer) for e in events])

    def read_metrics(self, viewer: Principal, job_id: str, *, known: str) -> Curves:
        """See `Platform`."""
        with self._database.unit_of_work(viewer.scope) as session:
            job = jobs.get_job(session, viewer.scope, parse_id(job_id))
            final = job.status in states.FINAL
            version = f"{metrics.metrics_version(session, viewer.scope, job.id)}{'-final' if final else ''}"
            if version == known:
                return Curves(version=version, final=final, series=None)
            found = metrics.read_metrics(session, viewer.scope, job.id)
        series = [
            Series(name=name, steps=one.steps, values=one.values, times=one.times)
            for name, one in sorted(found.items())
        ]
        return Curves(version=version, final=final, series=series)

    def read_use(self, viewer: Principal, job_id: str) -> JobUse:
        """See `Platform`."""
        with self._database.unit_of_work(viewer.scope) as session:
            job = jobs.get_job(session, viewer.scope, parse_id(job_id))
            used = jobs.read_utilisation(session, viewer.scope, job.id)
            return JobUse(
                begin=job.created_at,
                end=job.ended_at or database_now(session),
                final=job.status in states.FINAL,
                attempts=[(attempt.number, use) for attempt, use in used],
            )

    def read_logs(self, viewer: Principal, job_id: str, *, after: str | None) -> LogPage:
        """See `Platform`."""
        place = parse_id(after) if after else None
        skipped = False
        with self._database.unit_of_work(viewer.scope) as session:
            job = jobs.get_job(session, viewer.scope, parse_id(job_id))
            keys = logs.log_page(session, viewer.scope, job.id, after=place)
            if after is None:
                tail = logs.log_tail(session, viewer.scope, job.id, chunks=TAIL_CHUNKS, lines=TAIL_LINES)
                keys, skipped = tail, len(tail.chunks) < len(keys.chunks) or keys.more
        lines = [
            LogLine(at=datetime.fromtimestamp(line.time, UTC) if line.time else None, text=line.text)
            for line in logs.read_lines(self._storage, keys)
        ]
        if after is None and len(lines) > TAIL_LINES:
            lines, skipped = lines[-TAIL_LINES:], True
        last = keys.last or place
        return LogPage(lines=lines, after=str(last) if last else "", more=keys.more, skipped=skipped)

    def stop_job(self, viewer: Principal, job_id: str) -> None:
        """See `Platform`."""
        viewer.require("write")
        with self._database.unit_of_work(viewer.scope) as session:
            jobs.request_stop(session, viewer, parse_id(job_id))


def parse_id(text: str) -> UUID:
    """An id from an address; what is no id belongs to nothing (RouteNotFound)."""
    try:
        return UUID(text)
    except ValueError:
        raise RouteNotFound("There is nothing at this address, or it is not yours to see.") from None
