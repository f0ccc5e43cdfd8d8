"""What a page's handler reaches the domains' services through.

A handler opens one unit of work in the viewer's organization, calls services, and turns what they return into the
view models of its room (`frontend/views/<room>.py`); templates see view models only. Objects are read with no session
open. A handler that changes something calls `viewer.require("write")` first, as the API's dependencies do.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from backend.core.auth import Principal
from backend.core.db import Database, Scope
from backend.core.errors import Unavailable
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.identity.security import Security


@dataclass(frozen=True)
class Backstage:
    """The platform's parts, as the composition root made them."""

    database: Database
    storage: ObjectStore
    security: Security
    settings: Settings
    operator: Database | None = None
    """The same database as the role *operator*, which reads all tenants' rows and writes none: the admin console's."""

    def across(self) -> AbstractContextManager[Session]:
        """One reading transaction over all organizations. Raises Unavailable."""
        if self.operator is None:
            raise Unavailable("the admin console is not connected: set MODELYARD_DATABASE__OPERATOR_URL for the API")
        return self.operator.unit_of_work()

    def within(self, organization_id: UUID) -> AbstractContextManager[Session]:
        """One transaction in somebody's organization, for an operator's act there."""
        return self.database.unit_of_work(Scope(organization_id))

    def tenant(self, viewer: Principal) -> AbstractContextManager[Session]:
        """One transaction in the viewer's organization."""
        return self.database.unit_of_work(viewer.scope)
