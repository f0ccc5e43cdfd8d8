"""A tenant's work from a dataset version to the bill, as the other rooms write it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.billing.models import Charge, Price, UsageRecord
from backend.core.db import Database
from backend.core.ids import new_id
from backend.datasets.models import Dataset, DatasetVersion
from backend.endpoints.models import Endpoint, EndpointConfig, ProductionVariant, Replica
from backend.fleet.models import Instance, InstanceType
from backend.jobs.models import Attempt, Checkpoint, Job
from backend.registry.models import Model, ModelVersion
from tests.fixtures.database import Tenant

SHAPE = "test.lineage"
NOW = datetime.now(UTC)
MONTH = NOW.strftime("%Y-%m")


@dataclass
class Chain:
    """Rows by short names: ids of what was made."""

    tenant: Tenant
    database: Database
    ids: dict[str, UUID] = field(default_factory=dict)

    def _add(self, session: Session, called: str, model: type[Any], /, **values: Any) -> UUID:
        self.ids[called] = new_id()
        row = model(id=self.ids[called], organization_id=self.tenant.organization_id, **values)
        session.add(row)
        session.flush()
        return self.ids[called]

    def dataset(self, session: Session) -> UUID:
        dataset_id = self._add(
            session, "dataset", Dataset, project_id=self.tenant.project_id, name="digits", kind="image",
            description="", created_by="t",
        )  # fmt: skip
        return self._add(
            session, "data", DatasetVersion, dataset_id=dataset_id, number=1, manifest_sha256="0" * 64,
            manifest_bytes=1, file_count=6000, size_bytes=1, classes={}, splits={}, split_seed=1, created_by="t",
        )  # fmt: skip

    def job(self, session: Session, name: str, kind: str, inputs: dict[str, UUID]) -> UUID:
        return self._add(
            session, name, Job, project_id=self.tenant.project_id, kind=kind, name=f"{name}-{new_id()}", parameters={},
            inputs={channel: {"kind": channel, "id": str(id_)} for channel, id_ in inputs.items()}, instance_type=SHAPE,
            market="on-demand", max_attempts=3, max_runtime_seconds=60, keep_alive_seconds=0, status="completed",
            status_reason="", created_by="t",
        )  # fmt: skip

    def attempt(self, session: Session, name: str, job: UUID, number: int, resumed: int | None = None) -> UUID:
        instance_id = self._add(
            session, "instance", Instance, project_id=self.tenant.project_id, instance_type=SHAPE, market="on-demand",
            provider="test", tag=str(new_id()), status="ready", status_reason="",
        )  # fmt: skip
        return self._add(
            session, name, Attempt, job_id=job, number=number, instance_id=instance_id, assignment_id=new_id(),
            status="completed", status_reason="", resumed_from_step=resumed, ended_at=NOW,
        )  # fmt: skip

    def checkpoint(self, session: Session, name: str, job: UUID, attempt: UUID, step: int) -> UUID:
        return self._add(session, name, Checkpoint, job_id=job, attempt_id=attempt, step=step, files=[])

    def version(self, session: Session, name: str, number: int, **origin: UUID) -> UUID:
        if "model" not in self.ids:
            self._add(
                session, "model", Model, project_id=self.tenant.project_id, name=f"digits-{new_id()}",
                description="", created_by="t",
            )  # fmt: skip
        return self._add(
            session, name, ModelVersion, model_id=self.ids["model"], number=number, files=[], size_bytes=1,
            signature={}, metrics={}, report={}, approval_status="approved", **origin,
        )  # fmt: skip

    def endpoint(self, session: Session, **variants: UUID) -> UUID:
        config_id = new_id()
        endpoint_id = self._add(
            session, "endpoint", Endpoint, project_id=self.tenant.project_id, name="digits", status="in_service",
            status_reason="", wanted_config_id=config_id, live_config_id=config_id, max_body_bytes=1, created_by="t",
        )  # fmt: skip
        config = EndpointConfig(
            id=config_id, organization_id=self.tenant.organization_id, endpoint_id=endpoint_id, number=1,
            instance_type=SHAPE, replica_count=1, processes=1, created_by="t",
        )  # fmt: skip
        session.add(config)
        session.flush()
        for place, (name, version_id) in enumerate(variants.items()):
            self._add(
                session, f"variant {name}", ProductionVariant, config_id=config_id, name=name,
                model_version_id=version_id, weight=Decimal(1), position=place,
            )  # fmt: skip
        self._add(
            session, "replica", Replica, endpoint_id=endpoint_id, config_id=config_id, instance_id=None,
            assignment_id=None, status="in_service", status_reason="",
        )  # fmt: skip
        return endpoint_id

    def charge(self, session: Session, kind: str, resource: UUID, source: UUID, *, variant: str = "") -> None:
        minute = len([name for name in self.ids if name.startswith("charge")])
        began = NOW - timedelta(minutes=minute + 1)
        period = {"from_at": began, "to_at": began + timedelta(seconds=50)}
        billed = {"project_id": self.tenant.project_id, "resource_kind": kind, "resource_id": resource, **period}
        sku = f"instance:{SHAPE}:on-demand"
        usage = self._add(
            session, f"usage {minute}", UsageRecord, source_kind="replica" if variant else "attempt", source_id=source,
            resource_name="digits", sku=sku, quantity=Decimal(50), rated_at=NOW, **billed,
        )  # fmt: skip
        self._add(
            session, f"charge {minute}", Charge, usage_record_id=usage, price_id=self.ids["price"], unit="second",
            unit_price=Decimal("0.001"), quantity=Decimal(50), amount=Decimal("0.05"), resource_name="digits", sku=sku,
            variant=variant, **billed,
        )  # fmt: skip

    def build(self) -> "Chain":
        """Data → training, interrupted once → fp32 → compression → int8; both served and billed."""
        with self.database.unit_of_work() as session:
            session.merge(InstanceType(name=SHAPE, provider="test", vcpus=1, memory_bytes=1, description=""))
            price = session.query(Price).filter_by(sku=SHAPE).first() or Price(
                id=new_id(), sku=SHAPE, unit="second", amount=Decimal("0.001"), description="",
                effective_from=NOW - timedelta(days=40),
            )  # fmt: skip
            session.add(price)
            session.flush()
            self.ids["price"] = price.id
            data = self.dataset(session)
            training = self.job(session, "training", "training", {"training": data})
            first = self.attempt(session, "first", training, 1)
            for step in range(10, 60, 10):
                self.checkpoint(session, f"step {step}", training, first, step)
            second = self.attempt(session, "second", training, 2, resumed=50)
            origin = {"job_id": training, "attempt_id": second, "dataset_version_id": data}
            fp32 = self.version(session, "fp32", 1, **origin)
            compression = self.job(session, "compression", "compression", {"model": fp32, "dataset": data})
            only = self.attempt(session, "only", compression, 1)
            origin = {"job_id": compression, "attempt_id": only, "parent_version_id": fp32}
            int8 = self.version(session, "int8", 2, **origin)
            endpoint = self.endpoint(session, fp32=fp32, int8=int8)
            self.charge(session, "job", training, first)
            self.charge(session, "endpoint", endpoint, self.ids["replica"], variant="fp32")
            self.charge(session, "endpoint", endpoint, self.ids["replica"], variant="int8")
            self.charge(session, "endpoint", endpoint, self.ids["replica"], variant="int8")
        return self
