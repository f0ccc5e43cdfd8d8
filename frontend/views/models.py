"""Models and their versions as pages show them.

Accuracies are shares in [0, 1], sizes bytes, latencies milliseconds for one input; None = not known. What a job
process reported is read with care: a report of another form is as good as none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.orm import Session

from backend.core.db import Scope
from backend.core.pagination import PageRequest
from backend.endpoints import service as endpoints
from backend.endpoints.repository import Deployment
from backend.projects import service as projects
from backend.registry import service as registry
from backend.registry.models import Model, ModelVersion

MOST_DRAWN = 500
ACCURACIES = ("test_accuracy", "validation_accuracy", "accuracy")
"""Names of the accuracy among a version's metrics, the most telling first."""


class Pair(msgspec.Struct, frozen=True):
    """A figure of the original and of the compressed model."""

    before: float
    after: float


class MeasuredOn(msgspec.Struct, frozen=True):
    """How the gate measured."""

    split: str
    images: int
    latency_batch: int
    throughput_batch: int
    threads: int
    onnxruntime: str
    instance_type: str = ""


class CalibratedOn(msgspec.Struct, frozen=True):
    """What the ranges of the int8 values were found on."""

    split: str
    images: int
    method: str


class LayerLine(msgspec.Struct, frozen=True):
    """What became of one layer's weights."""

    name: str
    operator: str
    precision: str
    weights: int
    size_bytes_before: int
    size_bytes_after: int
    sparsity: float | None = None


class Pruned(msgspec.Struct, frozen=True):
    """What pruning took away. weights: those that are not zero."""

    kind: str
    amount: float
    epochs: int
    weights_before: int
    weights_after: int


class SensitivityLine(msgspec.Struct, frozen=True):
    """How far the answers move where this layer alone is changed: mean squared difference of the logits."""

    name: str
    operator: str
    distance: float


class CompressionReport(msgspec.Struct, frozen=True):
    """What the gate of a compression measured; see `worker.compression.job`."""

    method: str
    plan: str
    accepted: bool
    size_bytes: Pair
    latency_ms: Pair
    throughput: Pair
    accuracy: Pair
    accuracy_loss_points: float
    speedup: float
    throughput_speedup: float
    max_accuracy_loss_points: float
    minimum_speedup: float
    measured_on: MeasuredOn
    calibrated_on: CalibratedOn | None = None
    minimum_throughput_speedup: float = 0.0
    minimum_size_ratio: float = 0.0
    pruned: Pruned | None = None
    objections: list[str] = []
    layers: list[LayerLine] = []
    float_layers: list[str] = []
    sensitivity: list[SensitivityLine] = []

    @property
    def size_ratio(self) -> float:
        """How many times smaller."""
        return self.size_bytes.before / self.size_bytes.after


@dataclass(frozen=True, kw_only=True)
class VersionLine:
    """A version in a table."""

    id: str
    number: int
    status: str
    precision: str
    accuracy: float | None
    accuracy_on: str
    size_bytes: int
    latency_ms: float | None
    throughput: float | None
    method: str
    """Of the compression that made it; "" for a training."""
    parent_number: int | None
    """The version of the same model that it was compressed from."""
    deployed: Sequence[Deployment]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """A model in the list. `deployed`: where its versions stand, by endpoint."""

    id: str
    name: str
    description: str
    project_name: str
    newest: VersionLine | None
    deployed: Sequence[Deployment]


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """One page of models."""

    models: Sequence[ModelLine]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """A model and one page of its versions. `compared`: of how many versions accuracy and latency are known."""

    id: str
    name: str
    description: str
    tags: Mapping[str, str]
    project_id: str
    project_name: str
    created_at: datetime
    versions: Sequence[VersionLine]
    next_cursor: str | None
    deployed: Sequence[Deployment]


def list_models(
    session: Session, scope: Scope, page: PageRequest, *, project: UUID | None, text: str | None
) -> ModelList:
    """One page, newest model first."""
    rows, following = registry.list_models(session, scope, page, project_id=project, name_contains=text)
    deployed = by_model(endpoints.deployments(session, scope, [model.id for model, _ in rows]))
    names = project_names(session, scope, {model.project_id for model, _ in rows})
    lines = version_lines(session, scope, [newest for _, newest in rows if newest is not None], deployed)
    by_id = {UUID(line.id): line for line in lines}
    return ModelList(
        models=[
            ModelLine(
                id=str(model.id),
                name=model.name,
                description=model.description,
                project_name=names[model.project_id],
                newest=by_id[newest.id] if newest is not None else None,
                deployed=endpoints_of(deployed.get(model.id, [])),
            )
            for model, newest in rows
        ],
        next_cursor=following,
    )


def model_page(session: Session, scope: Scope, model: Model, page: PageRequest) -> ModelPage:
    """A model with one page of its versions, newest first."""
    rows, following = registry.list_versions(session, scope, model.id, page)
    deployed = by_model(endpoints.deployments(session, scope, [model.id]))
    return ModelPage(
        id=str(model.id),
        name=model.name,
        description=model.description,
        tags=model.tags,
        project_id=str(model.project_id),
        project_name=project_names(session, scope, {model.project_id})[model.project_id],
        created_at=model.created_at,
        versions=version_lines(session, scope, rows, deployed),
        next_cursor=following,
        deployed=endpoints_of(deployed.get(model.id, [])),
    )


def version_lines(
    session: Session, scope: Scope, rows: Sequence[ModelVersion], deployed: Mapping[UUID, Sequence[Deployment]]
) -> list[VersionLine]:
    """Rows of a table, with the latency that a compression measured of its result or of its original."""
    compressed = registry.compressed_from(session, scope, [row.id for row in rows])
    measured, answered = latencies(rows, compressed), throughputs(rows, compressed)
    numbers = {(row.model_id, row.id): row.number for row in rows}
    return [
        VersionLine(
            id=str(row.id),
            number=row.number,
            status=row.approval_status,
            precision=text_of(row.signature, "precision"),
            accuracy=accuracy(row)[1],
            accuracy_on=accuracy(row)[0],
            size_bytes=row.size_bytes,
            latency_ms=measured.get(row.id),
            throughput=answered.get(row.id),
            method=method_of(row),
            parent_number=numbers.get((row.model_id, row.parent_version_id)) if row.parent_version_id else None,
            deployed=endpoints_of(one for one in deployed.get(row.model_id, []) if one.model_version_id == row.id),
            created_at=row.created_at,
        )
        for row in rows
    ]


def by_model(found: Iterable[Deployment]) -> dict[UUID, list[Deployment]]:
    """Deployments by model."""
    grouped: dict[UUID, list[Deployment]] = {}
    for one in found:
        grouped.setdefault(one.model_id, []).append(one)
    return grouped


def endpoints_of(found: Iterable[Deployment]) -> list[Deployment]:
    """One deployment for each endpoint: what answers rather than what is only wanted."""
    kept: dict[UUID, Deployment] = {}
    for one in found:
        if one.endpoint_id not in kept or (one.live and not kept[one.endpoint_id].live):
            kept[one.endpoint_id] = one
    return list(kept.values())


def project_names(session: Session, scope: Scope, ids: Iterable[UUID]) -> dict[UUID, str]:
    """Names of a few projects."""
    return {id_: projects.get_project(session, scope, id_).name for id_ in ids}


def accuracy(version: ModelVersion) -> tuple[str, float | None]:
    """The version's accuracy, and the split it was measured on ("" where nobody said)."""
    for name in ACCURACIES:
        value = number_of(version.metrics, name)
        if value is not None:
            return name.removesuffix("accuracy").rstrip("_"), value
    return "", None


def number_of(values: Mapping[str, Any], name: str) -> float | None:
    """A finite number; None where there is none."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def text_of(values: Mapping[str, Any], name: str) -> str:
    """A short text; "" where there is none."""
    value = values.get(name)
    return value[:100] if isinstance(value, str) else ""


def compression_report(version: ModelVersion) -> CompressionReport | None:
    """What the gate measured; None for a version that no compression made."""
    try:
        report = msgspec.convert(version.report, CompressionReport, strict=False)
    except msgspec.ValidationError:
        return None
    return report if report.size_bytes.after > 0 and report.accuracy.before >= 0 else None


def method_of(version: ModelVersion) -> str:
    """How it was compressed, in a few words; "" for a version that no compression made."""
    report = compression_report(version)
    if report is None:
        return ""
    pruned = [f"{report.pruned.kind} {report.pruned.amount:.0%}"] if report.pruned is not None else []
    return ", ".join([*pruned, *([] if report.method == "none" else [report.method])])


def latencies(rows: Iterable[ModelVersion], compressed: Iterable[ModelVersion]) -> dict[UUID, float]:
    """Milliseconds for one input by version: of a compressed one, and of the original it was measured beside."""
    return _measured(rows, compressed, lambda report: report.latency_ms)


def throughputs(rows: Iterable[ModelVersion], compressed: Iterable[ModelVersion]) -> dict[UUID, float]:
    """Inputs per second in batches, by version, as `latencies`."""
    return _measured(rows, compressed, lambda report: report.throughput)


def _measured(
    rows: Iterable[ModelVersion], compressed: Iterable[ModelVersion], figure: Callable[[CompressionReport], Pair]
) -> dict[UUID, float]:
    found: dict[UUID, float] = {}
    for row in compressed:
        report = compression_report(row)
        if report is not None and row.parent_version_id is not None:
            found[row.parent_version_id] = figure(report).before
    for row in rows:
        report = compression_report(row)
        if report is not None:
            found[row.id] = figure(report).after
    return found


def compared(session: Session, scope: Scope, model: Model) -> list[VersionLine]:
    """The newest versions, for a chart."""
    rows: list[ModelVersion] = []
    cursor = None
    while len(rows) < MOST_DRAWN:
        more, cursor = registry.list_versions(session, scope, model.id, PageRequest(limit=100, cursor=cursor))
        rows += more
        if cursor is None:
            break
    return version_lines(session, scope, rows, {})
