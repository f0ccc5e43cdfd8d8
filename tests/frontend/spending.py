"""Usage of the past days with its charges, written as metering and rating write them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from backend.billing import service as billing
from backend.core.clock import database_now
from backend.core.db import Database
from backend.core.ids import new_id
from backend.projects.models import Project
from tests.fixtures.database import Tenant

LONG_AGO = timedelta(days=90)


@dataclass
class Spender:
    """Charges a tenant: a dollar a second, on an instance type of its own."""

    app: Database
    controller: Database
    tenant: Tenant
    sku: str = field(default_factory=lambda: f"instance:test-{str(new_id())[-12:]}:on-demand")

    def now(self) -> datetime:
        with self.app.unit_of_work() as session:
            return database_now(session)

    def use(
        self,
        dollars: str,
        *,
        at: datetime | None = None,
        name: str = "digits-cnn",
        kind: str = "job",
        resource_id: UUID | None = None,
        project_id: UUID | None = None,
    ) -> UUID:
        """Use so many dollars of a resource from `at` on (default: ten minutes ago), not charged yet; its id."""
        begin = at or self.now() - timedelta(minutes=10)
        resource = resource_id or new_id()
        with self.app.unit_of_work(self.tenant.scope) as session:
            billing.record_usage(
                session, self.tenant.scope, project_id=project_id or self.tenant.project_id, source_kind="attempt",
                source_id=new_id(), resource_kind=kind, resource_id=resource, resource_name=name, sku=self.sku,
                quantity=Decimal(dollars), from_at=begin, to_at=begin, detail={},
            )  # fmt: skip
        return resource

    def charge(self) -> None:
        """Rate everything that was used."""
        with self.controller.unit_of_work() as session:
            if not any(price.sku == self.sku for price in billing.list_prices(session, at=None)):
                billing.set_price(session, self.sku, Decimal(1), database_now(session) - LONG_AGO)
        with self.controller.unit_of_work() as session:
            billing.rate(session, 1000, settle_seconds=0)

    def project(self, name: str) -> UUID:
        """A second project."""
        project = Project(id=new_id(), organization_id=self.tenant.organization_id, name=name, description="")
        with self.app.unit_of_work(self.tenant.scope) as session:
            session.add(project)
        return project.id

    def two_weeks(self) -> dict[str, UUID]:
        """Fourteen days of a job, an endpoint and a job of another project; ids by name."""
        now = self.now()
        ids = {name: new_id() for name in ("mnist-cnn", "digits-endpoint", "nightly")}
        night = self.project("night-shift")
        for ago in range(14):
            at = now - timedelta(days=ago, minutes=5)
            self.use(f"{4 + ago % 3}.125", at=at, name="mnist-cnn", resource_id=ids["mnist-cnn"])
            self.use("1.5", at=at, name="digits-endpoint", kind="endpoint", resource_id=ids["digits-endpoint"])
            self.use("0.25", at=at, name="nightly", resource_id=ids["nightly"], project_id=night)
        self.charge()
        return ids
