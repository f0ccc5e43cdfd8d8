"""A job's page, read from the domains that know of it: engine, billing, datasets, registry."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing import costs
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.errors import NotFound
from backend.core.pagination import MAX_LIMIT, PageRequest
from backend.datasets import service as datasets
from backend.jobs import service as jobs
from backend.jobs.models import Attempt, Job
from backend.projects import service as projects
from backend.registry import service as registry
from frontend import jobviews
from frontend.views import ChargeLine, EventView, JobDetail, ProjectLink, ResourceLink


def detail(
    session: Session, viewer: Principal, job: Job, attempts: Sequence[Attempt], *, events: list[EventView]
) -> JobDetail:
    """Everything of one job but its curves and its log."""
    now = database_now(session)
    names = {UUID(one.id): one.name for one in project_links(session, viewer)}
    charged = costs.charged_to(session, viewer.scope, "job", [job.id])
    charges, waiting = costs.charges_by_price(session, viewer.scope, "job", job.id)
    running = attempts[-1] if attempts and attempts[-1].ended_at is None else None
    checkpoints = jobs.list_checkpoints(session, viewer.scope, job.id)
    return JobDetail(
        summary=jobviews.summary(job, now=now, projects=names, costs=charged, attempt=running),
        failure=jobviews.failure_view(job),
        attempts=[jobviews.attempt_view(one, now=now) for one in attempts],
        events=events,
        facts=jobviews.facts(job),
        links=list(_links(session, viewer, job)),
        checkpoints=jobviews.checkpoint_views(checkpoints, attempts),
        charges=[
            ChargeLine(sku=one.sku, unit=one.unit, quantity=one.quantity, unit_price=one.unit_price, amount=one.amount)
            for one in charges
        ],
        uncharged_seconds=waiting,
        timeline=jobviews.timeline(job, attempts, now),
        next_name=jobs.next_name(session, viewer.scope, job.name),
    )


def project_links(session: Session, viewer: Principal) -> list[ProjectLink]:
    """The projects the viewer can switch to."""
    found, _ = projects.list_projects(session, viewer.scope, PageRequest(limit=MAX_LIMIT))
    return [ProjectLink(id=str(one.id), name=one.name) for one in found]


def _links(session: Session, viewer: Principal, job: Job) -> Iterator[ResourceLink]:
    """What it was given, then what it made; what is gone is left out."""
    for one in job.inputs.values():
        link = _link(session, viewer, str(one.get("kind")), str(one.get("id")), made=False)
        if link is not None:
            yield link
    made = job.output.get("model_version_id")
    link = _link(session, viewer, "model", str(made), made=True) if made else None
    if link is not None:
        yield link


def _link(session: Session, viewer: Principal, kind: str, id_: str, *, made: bool) -> ResourceLink | None:
    try:
        if kind == "dataset":
            version = datasets.get_version(session, viewer.scope, UUID(id_))
            dataset = datasets.get_dataset(session, viewer.scope, version.dataset_id)
            path = f"/data/versions/{version.id}"
            return ResourceLink(kind="dataset", name=f"{dataset.name} v{version.number}", path=path)
        artifact = registry.get_version(session, viewer.scope, UUID(id_))
        model = registry.get_model(session, viewer.scope, artifact.model_id)
    except (NotFound, ValueError):
        return None
    path = f"/models/versions/{artifact.id}"
    return ResourceLink(kind="made" if made else "model", name=f"{model.name} v{artifact.number}", path=path)
