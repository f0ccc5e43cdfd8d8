"""Tables of projects."""

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from backend.core.db import Base, Identified, Tagged, TenantOwned, Timestamped, tenant_key


class Project(Identified, TenantOwned, Tagged, Timestamped, Base):
    """A team's workspace inside an organization; owns datasets, jobs, models and endpoints."""

    __tablename__ = "projects"
    __table_args__ = (tenant_key(), UniqueConstraint("organization_id", "name"))

    name: Mapped[str]
    description: Mapped[str]
