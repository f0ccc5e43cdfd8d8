"""All SQL of lineage, within one organization: one statement for each kind of step, for many rows at once."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Text, Uuid, and_, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from backend.billing.models import Charge, UsageRecord
from backend.core.db import Scope
from backend.datasets.models import Dataset, DatasetVersion
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica, UsageSegment
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.lineage.nodes import LineKey, Node, Ref
from backend.registry.models import Model, ModelVersion

CHILDREN: Final = 50
"""Most steps from one thing by one kind of step."""
CHECKPOINTS: Final = 3
"""The newest of an attempt; there may be hundreds."""
Step = tuple[UUID, Node]
"""Whose step it is, and where it leads."""
LINES: Final = 500


class LineageRepository:
    """Steps between the rows of one organization. Each gets ids and returns (id it starts from, node it leads to)."""

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._organization_id = scope.organization_id

    # --- single kinds of rows ---------------------------------------------------------------------

    def dataset_versions(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        query = (
            select(DatasetVersion, Dataset.name)
            .join(Dataset, and_(Dataset.id == DatasetVersion.dataset_id, self._own(Dataset)))
            .where(self._own(DatasetVersion), DatasetVersion.id.in_(ids))
        )
        return [
            Node(
                Ref("dataset_version", str(row.id)),
                f"{name} v{row.number}",
                f"{row.file_count} files",
                row.created_at,
                belongs=str(row.dataset_id),
            )
            for row, name in self._session.execute(query)
        ]

    def jobs(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        return [_job(row) for row in self._session.scalars(select(Job).where(self._own(Job), Job.id.in_(ids)))]

    def attempts(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        query = select(Attempt).where(self._own(Attempt), Attempt.id.in_(ids))
        return [_attempt(row) for row in self._session.scalars(query)]

    def checkpoints(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        query = select(Checkpoint).where(self._own(Checkpoint), Checkpoint.id.in_(ids))
        return [_checkpoint(row) for row in self._session.scalars(query)]

    def model_versions(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        return [_version(row) for row in self._session.execute(self._versions().where(ModelVersion.id.in_(ids)))]

    def endpoints(self, ids: Sequence[UUID]) -> list[Node]:
        """By id, deleted ones too."""
        query = select(Endpoint).where(self._own(Endpoint), Endpoint.id.in_(ids))
        return [
            Node(Ref("endpoint", str(row.id)), row.name, row.status, row.created_at)
            for row in self._session.scalars(query)
        ]

    def variants(self, ids: Sequence[UUID]) -> list[Node]:
        """By id."""
        return [_variant(row) for row in self._session.execute(self._variants().where(ProductionVariant.id.in_(ids)))]

    # --- steps down -------------------------------------------------------------------------------

    def jobs_reading_dataset(self, ids: Sequence[UUID]) -> list[Step]:
        """Dataset version → jobs, newest first."""
        return self._newest(Job, Job.reads_dataset_version_id, ids, _job)

    def jobs_reading_model(self, ids: Sequence[UUID]) -> list[Step]:
        """Model version → jobs (compression), newest first."""
        return self._newest(Job, Job.reads_model_version_id, ids, _job)

    def attempts_of(self, ids: Sequence[UUID]) -> list[Step]:
        """Job → attempts."""
        return self._newest(Attempt, Attempt.job_id, ids, _attempt)

    def checkpoints_of(self, ids: Sequence[UUID]) -> list[Step]:
        """Attempt → its newest checkpoints."""
        return self._newest(Checkpoint, Checkpoint.attempt_id, ids, _checkpoint, limit=CHECKPOINTS)

    def attempts_resuming(self, ids: Sequence[UUID]) -> list[Step]:
        """Checkpoint → the later attempts that resumed from it."""
        query = self._resumptions().where(Checkpoint.id.in_(ids))
        return [(checkpoint.id, _attempt(attempt)) for checkpoint, attempt in self._session.execute(query)]

    def versions_of_jobs(self, ids: Sequence[UUID]) -> list[tuple[UUID, UUID | None, Node]]:
        """Job → (job, attempt, model version it made)."""
        rows = self._session.execute(self._versions().where(ModelVersion.job_id.in_(ids)))
        return [(row[0].job_id, row[0].attempt_id, _version(row)) for row in rows if row[0].job_id is not None]

    def variants_of_versions(self, ids: Sequence[UUID]) -> list[Step]:
        """Model version → variants that serve it or did."""
        query = self._variants().where(ProductionVariant.model_version_id.in_(ids))
        rows = self._session.execute(query.order_by(ProductionVariant.id.desc()).limit(CHILDREN * 2))
        return [(row[0].model_version_id, _variant(row)) for row in rows]

    def variants_of_endpoints(self, ids: Sequence[UUID]) -> list[Step]:
        """Endpoint → variants of its configs, newest first."""
        query = self._variants().where(EndpointConfig.endpoint_id.in_(ids))
        rows = self._session.execute(query.order_by(ProductionVariant.id.desc()).limit(CHILDREN))
        return [(row.endpoint_id, _variant(row)) for row in rows]

    def version_of_variants(self, ids: Sequence[UUID]) -> list[Step]:
        """Variant → the model version that it serves."""
        query = (
            self._versions()
            .add_columns(ProductionVariant.id.label("variant_id"))
            .join(ProductionVariant, ProductionVariant.model_version_id == ModelVersion.id)
            .where(self._own(ProductionVariant), ProductionVariant.id.in_(ids))
        )
        return [(row.variant_id, _version(row)) for row in self._session.execute(query)]

    # --- steps up ---------------------------------------------------------------------------------

    def inputs_of_jobs(self, ids: Sequence[UUID]) -> list[tuple[UUID, UUID | None, UUID | None]]:
        """(job, dataset version it read, model version it read)."""
        query = select(Job.id, Job.reads_dataset_version_id, Job.reads_model_version_id)
        rows = self._session.execute(query.where(self._own(Job), Job.id.in_(ids)))
        return [(row[0], row[1], row[2]) for row in rows]

    def resumed_from(self, ids: Sequence[UUID]) -> list[Step]:
        """Attempt → the checkpoint that it resumed from."""
        query = self._resumptions().where(Attempt.id.in_(ids))
        return [(attempt.id, _checkpoint(checkpoint)) for checkpoint, attempt in self._session.execute(query)]

    def origins_of_versions(
        self, ids: Sequence[UUID]
    ) -> list[tuple[UUID, UUID | None, UUID | None, UUID | None, UUID | None]]:
        """(model version, job, attempt, and for one without a job the dataset and model version it came from)."""
        query = select(
            ModelVersion.id,
            ModelVersion.job_id,
            ModelVersion.attempt_id,
            ModelVersion.dataset_version_id,
            ModelVersion.parent_version_id,
        )
        rows = self._session.execute(query.where(self._own(ModelVersion), ModelVersion.id.in_(ids)))
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]

    def makers_of_checkpoints(self, ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
        """(checkpoint, the attempt that wrote it)."""
        query = select(Checkpoint.id, Checkpoint.attempt_id).where(self._own(Checkpoint), Checkpoint.id.in_(ids))
        return [(row[0], row[1]) for row in self._session.execute(query)]

    def places_of_variants(self, ids: Sequence[UUID]) -> list[tuple[UUID, UUID, str]]:
        """(variant, its config, its name)."""
        query = select(ProductionVariant.id, ProductionVariant.config_id, ProductionVariant.name)
        rows = self._session.execute(query.where(self._own(ProductionVariant), ProductionVariant.id.in_(ids)))
        return [(row[0], row[1], row[2]) for row in rows]

    # --- invoice lines ----------------------------------------------------------------------------

    def lines_of_jobs(self, ids: Sequence[UUID]) -> list[Step]:
        """Job → the lines that it is billed on."""
        rows = self._lines(Charge.resource_kind == "job", Charge.resource_id.in_(ids))
        return [(row.resource_id, _line(row)) for row in rows]

    def lines_of_configs(
        self, endpoint_ids: Sequence[UUID], *where: ColumnElement[bool]
    ) -> list[tuple[UUID, UUID | None, str, Node]]:
        """(endpoint, config whose replicas were billed, variant or "", line). A line may come from several configs."""
        by_call = aliased(Replica)
        config = func.coalesce(Replica.config_id, by_call.config_id)
        segment = cast(UsageRecord.detail["segment_id"].astext, Uuid())
        query = (
            _grouped(select(config.label("config_id")))
            .join(UsageRecord, and_(UsageRecord.id == Charge.usage_record_id, self._own(UsageRecord)))
            .outerjoin(Replica, and_(Replica.id == UsageRecord.source_id, self._own(Replica)))
            .outerjoin(UsageSegment, and_(UsageSegment.segment_id == segment, self._own(UsageSegment)))
            .outerjoin(by_call, and_(by_call.id == UsageSegment.replica_id, self._own(by_call)))
            .where(self._own(Charge), Charge.resource_kind == "endpoint", Charge.resource_id.in_(endpoint_ids), *where)
            .group_by(config)
        )
        rows = self._session.execute(query)
        return [(row.resource_id, row.config_id, row.variant, _line(row)) for row in rows]

    def line(self, key: LineKey) -> Node | None:
        """One line, if there are charges on it."""
        rows = self._lines(*self._on(key))
        return _line(rows[0]) if rows else None

    def configs_of_line(self, key: LineKey) -> set[UUID]:
        """The configs whose replicas a line of an endpoint was billed for."""
        rows = self.lines_of_configs([key.resource_id], *self._on(key))
        return {config_id for _, config_id, _, _ in rows if config_id is not None}

    def variants_of_configs(self, config_ids: Sequence[UUID], name: str) -> list[Node]:
        """Of this name; "" = all of them, which share what is not split."""
        query = self._variants().where(ProductionVariant.config_id.in_(config_ids))
        if name:
            query = query.where(ProductionVariant.name == name)
        return [_variant(row) for row in self._session.execute(query)]

    def _on(self, key: LineKey) -> tuple[ColumnElement[bool], ...]:
        from_at, to_at = key.period
        return (
            Charge.resource_kind == key.resource_kind,
            Charge.resource_id == key.resource_id,
            Charge.sku == key.sku,
            Charge.variant == key.variant,
            Charge.unit_price == key.unit_price,
            Charge.from_at >= from_at,
            Charge.from_at < to_at,
        )

    def _lines(self, *where: ColumnElement[bool]) -> Sequence[Row[Any]]:
        return self._session.execute(_grouped(select()).where(self._own(Charge), *where).limit(LINES)).all()

    # --- parts of statements ----------------------------------------------------------------------

    def _own(self, model: Any) -> ColumnElement[bool]:  # noqa: ANN401 - any tenant-owned model
        owned: ColumnElement[bool] = model.organization_id == self._organization_id
        return owned

    def _newest(
        self,
        model: Any,  # noqa: ANN401 - any table
        parent: Any,  # noqa: ANN401 - a column of it
        ids: Sequence[UUID],
        make: Any,  # noqa: ANN401 - a function of its rows
        *,
        limit: int = CHILDREN,
    ) -> list[Step]:
        """The newest children of each parent, one more than the limit where there are more."""
        place = func.row_number().over(partition_by=parent, order_by=model.id.desc())
        ranked = select(model.id, place.label("place")).where(self._own(model), parent.in_(ids)).subquery()
        query = (
            select(model, parent)
            .join(ranked, ranked.c.id == model.id)
            .where(self._own(model), ranked.c.place <= limit + 1)
            .order_by(model.id.desc())
        )
        return [(row[1], make(row[0])) for row in self._session.execute(query)]

    def _versions(self) -> Select[ModelVersion, str]:
        return (
            select(ModelVersion, Model.name)
            .join(Model, and_(Model.id == ModelVersion.model_id, self._own(Model)))
            .where(self._own(ModelVersion))
        )

    def _variants(self) -> Select[ProductionVariant, int, UUID, str, str]:
        return (
            select(ProductionVariant, EndpointConfig.number, EndpointConfig.endpoint_id, Endpoint.name, Endpoint.status)
            .join(EndpointConfig, and_(EndpointConfig.id == ProductionVariant.config_id, self._own(EndpointConfig)))
            .join(Endpoint, and_(Endpoint.id == EndpointConfig.endpoint_id, self._own(Endpoint)))
            .where(self._own(ProductionVariant))
        )

    def _resumptions(self) -> Select[Checkpoint, Attempt]:
        """(checkpoint, attempt that resumed from it): of its job, at its step, made before it began."""
        return (
            select(Checkpoint, Attempt)
            .join(Attempt, and_(Attempt.job_id == Checkpoint.job_id, self._own(Attempt)))
            .where(
                self._own(Checkpoint),
                Attempt.resumed_from_step == Checkpoint.step,
                Attempt.id != Checkpoint.attempt_id,
                or_(Attempt.started_at.is_(None), Checkpoint.created_at <= Attempt.started_at),
            )
        )


def _grouped(query: Select[Any]) -> Select[Any]:
    month = func.to_char(func.timezone("UTC", Charge.from_at), "YYYY-MM")
    columns = (
        Charge.resource_kind, Charge.resource_id, Charge.resource_name, Charge.sku, Charge.variant,
        Charge.unit, Charge.unit_price,
    )  # fmt: skip
    return (
        query.add_columns(
            *columns,
            cast(month, Text()).label("month"),
            func.sum(Charge.amount).label("amount"),
            func.sum(Charge.quantity).label("quantity"),
        )
        .group_by(*columns, month)
        .order_by(month.desc(), Charge.sku, Charge.variant, Charge.unit_price)
    )


def _job(row: Job) -> Node:
    return Node(Ref("job", str(row.id)), row.name, f"{row.kind}, {row.status}", row.created_at)


def _attempt(row: Attempt) -> Node:
    name = f"attempt {row.number}"
    return Node(Ref("attempt", str(row.id)), name, row.status, row.created_at, belongs=str(row.job_id))


def _checkpoint(row: Checkpoint) -> Node:
    name = f"step {row.step}"
    return Node(Ref("checkpoint", str(row.id)), name, "", row.created_at, belongs=str(row.job_id))


def _version(row: Any) -> Node:  # noqa: ANN401 - a row (ModelVersion, name, …)
    version, name = row[0], row[1]
    return Node(
        Ref("model_version", str(version.id)),
        f"{name} v{version.number}",
        version.approval_status,
        version.created_at,
        belongs=str(version.model_id),
    )


def _variant(row: Any) -> Node:  # noqa: ANN401 - a row (ProductionVariant, number, endpoint_id, name, status)
    variant, number, endpoint_id, endpoint, status = row
    return Node(
        Ref("variant", str(variant.id)),
        f"{endpoint} / {variant.name}",
        f"config {number}, endpoint {status}",
        None,
        belongs=str(endpoint_id),
    )


def _line(row: Any) -> Node:  # noqa: ANN401 - a row of `_grouped`
    key = LineKey(row.month, row.resource_kind, row.resource_id, row.sku, row.variant, row.unit_price)
    detail = f"{row.month}, {row.amount.normalize():f} USD"
    return Node(key.ref, f"{row.resource_name}: {row.sku}", detail, None, belongs=str(row.resource_id))
