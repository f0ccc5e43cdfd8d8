"""One model version: how it stands, what it takes and gives, where it comes from, what it gets wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.auth import Principal
from backend.core.db import Scope
from backend.datasets import service as datasets
from backend.endpoints import service as endpoints
from backend.endpoints.repository import Deployment
from backend.jobs import service as jobs
from backend.registry import service as registry
from backend.registry.evaluation import has_evaluation
from backend.registry.models import ModelVersion
from backend.registry.schemas import ClassFigures, Evaluation
from frontend.figures import Figure, FigureSeries
from frontend.jobviews import event_view, flat
from frontend.views import EventView
from frontend.views.models import (
    CompressionReport,
    accuracy,
    by_model,
    compression_report,
    endpoints_of,
    latencies,
    number_of,
    project_names,
    text_of,
)

MOST_CLASSES = 60
BY = " \N{MULTIPLICATION SIGN} "
MOST_CONFUSIONS = 8
MOST_FACTS = 40
PARTS_OF_THE_REPORT = {"classes", "confusion_matrix", "size_bytes"}
"""What a training's report says that the page shows elsewhere."""


@dataclass(frozen=True, kw_only=True)
class VersionHead:
    """What every tab shows. `reason`, `who`, `reviewed_at`: of the last approval or rejection."""

    id: str
    number: int
    model_id: str
    model_name: str
    project_id: str
    project_name: str
    status: str
    reason: str | None
    who: str
    reviewed_at: datetime | None
    accuracy: float | None
    accuracy_on: str
    size_bytes: int
    latency_ms: float | None
    precision: str
    created_at: datetime
    deployed: Sequence[Deployment]
    has_evaluation: bool
    report: CompressionReport | None
    compressible: bool
    """A compression takes it: an fp32 classifier."""
    reads_texts: bool
    """Its signature declares a tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output; -1 in the shape is a free size."""

    name: str
    datatype: str
    shape: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """Something this version comes from, or that came of it."""

    path: str
    name: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where it comes from, and what was made of it."""

    job: Link | None
    dataset: Link | None
    parent: Link | None
    children: Sequence[Link]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first tab."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    classes: Sequence[str]
    more_classes: int
    metrics: Sequence[tuple[str, float]]
    facts: Sequence[tuple[str, Any]]
    lineage: Lineage
    tags: Mapping[str, str]
    events: Sequence[EventView]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Images of one class that were taken for another."""

    truth: str
    prediction: str
    images: int
    share: float
    """Of the images of the true class."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPage:
    """The second tab."""

    found: Evaluation
    per_class: Sequence[ClassFigures]
    confusions: Sequence[Confusion]
    pictures: str
    """Address that a file's digest completes; empty where nobody knows which dataset version the images are of."""


def read_head(session: Session, viewer: Principal, version: ModelVersion) -> VersionHead:
    """How the version stands."""
    scope = viewer.scope
    model = registry.get_model(session, scope, version.model_id)
    reviews = registry.list_events(session, scope, version.id)
    last = event_view(reviews[-1], viewer) if reviews else None
    split, share = accuracy(version)
    deployed = by_model(endpoints.deployments(session, scope, [model.id])).get(model.id, [])
    measured = latencies([version], registry.compressed_from(session, scope, [version.id]))
    return VersionHead(
        id=str(version.id),
        number=version.number,
        model_id=str(model.id),
        model_name=model.name,
        project_id=str(model.project_id),
        project_name=project_names(session, scope, {model.project_id})[model.project_id],
        status=version.approval_status,
        reason=last.reason if last is not None else None,
        who=last.who if last is not None else "",
        reviewed_at=last.at if last is not None else None,
        accuracy=share,
        accuracy_on=split,
        size_bytes=version.size_bytes,
        latency_ms=measured.get(version.id),
        precision=text_of(version.signature, "precision"),
        created_at=version.created_at,
        deployed=endpoints_of(one for one in deployed if one.model_version_id == version.id),
        has_evaluation=has_evaluation(version),
        report=compression_report(version),
        compressible=text_of(version.signature, "precision") == "fp32" and bool(_classes(version)),
        reads_texts="tokenizer" in _preprocessing(version),
    )


def read_overview(session: Session, viewer: Principal, version: ModelVersion) -> Overview:
    """The first tab's content."""
    classes = _classes(version)
    own_report = {} if compression_report(version) is not None else version.report
    facts = [(name, value) for name, value in flat(own_report) if name.partition(".")[0] not in PARTS_OF_THE_REPORT]
    reviews = registry.list_events(session, viewer.scope, version.id)
    return Overview(
        inputs=_tensors(version.signature["inputs"]),
        outputs=_tensors(version.signature["outputs"]),
        classes=classes[:MOST_CLASSES],
        more_classes=max(len(classes) - MOST_CLASSES, 0),
        metrics=[
            (name, value) for name in sorted(version.metrics) if (value := number_of(version.metrics, name)) is not None
        ],
        facts=[one for one in facts if not isinstance(one[1], list)][:MOST_FACTS],
        lineage=_lineage(session, viewer.scope, version),
        tags=version.tags,
        events=[event_view(one, viewer) for one in reversed(reviews)],
    )


def _classes(version: ModelVersion) -> list[str]:
    found = version.signature.get("classes")
    return [str(one) for one in found] if isinstance(found, list) else []


def _preprocessing(version: ModelVersion) -> Mapping[str, Any]:
    found = version.signature.get("preprocessing")
    return found if isinstance(found, dict) else {}


def _tensors(said: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    return [
        Tensor(name=one["name"], datatype=one["datatype"], shape=BY.join(_size(size) for size in one["shape"]))
        for one in said
    ]


def _size(size: int) -> str:
    return "N" if size < 0 else str(size)


def _lineage(session: Session, scope: Scope, version: ModelVersion) -> Lineage:
    children = registry.compressed_from(session, scope, [version.id])
    return Lineage(
        job=_job(session, scope, version.job_id),
        dataset=_dataset(session, scope, version.dataset_version_id),
        parent=_version(session, scope, version.parent_version_id),
        children=[link for one in children if (link := _version(session, scope, one.id)) is not None],
    )


def _job(session: Session, scope: Scope, job_id: UUID | None) -> Link | None:
    if job_id is None:
        return None
    job = jobs.get_job(session, scope, job_id)
    return Link(path=f"/training/{job.id}", name=job.name, kind=job.kind)


def _dataset(session: Session, scope: Scope, version_id: UUID | None) -> Link | None:
    if version_id is None:
        return None
    version = datasets.get_version(session, scope, version_id)
    dataset = datasets.get_dataset(session, scope, version.dataset_id)
    return Link(path=f"/data/versions/{version.id}", name=f"{dataset.name} v{version.number}")


def _version(session: Session, scope: Scope, version_id: UUID | None) -> Link | None:
    if version_id is None:
        return None
    version = registry.get_version(session, scope, version_id)
    model = registry.get_model(session, scope, version.model_id)
    return Link(path=f"/models/versions/{version.id}", name=f"{model.name} v{version.number}")


def evaluation_page(found: Evaluation, version: ModelVersion) -> EvaluationPage:
    """The second tab's content: classes from the weakest on, the most frequent confusions."""
    return EvaluationPage(
        found=found,
        per_class=sorted(found.per_class, key=lambda one: one.f1),
        confusions=_confusions(found),
        pictures=f"/data/versions/{version.dataset_version_id}/files/" if version.dataset_version_id else "",
    )


def _confusions(found: Evaluation) -> list[Confusion]:
    pairs = [
        Confusion(truth=truth, prediction=prediction, images=count, share=count / sum(row))
        for truth, row in zip(found.classes, found.matrix, strict=True)
        for prediction, count in zip(found.classes, row, strict=True)
        if truth != prediction and count
    ]
    return sorted(pairs, key=lambda one: -one.images)[:MOST_CONFUSIONS]


def confusion_figure(found: Evaluation, *, truth: str, prediction: str, note: str) -> Figure:
    """Rows: what the image shows; columns: what the model says."""
    return Figure(
        kind="matrix",
        unit="count",
        x=found.classes,
        x_label=prediction,
        y_label=truth,
        series=[FigureSeries(name=label, values=row) for label, row in zip(found.classes, found.matrix, strict=True)],
        note=note,
    )
