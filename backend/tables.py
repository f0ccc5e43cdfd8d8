"""Every table, imported once: for migrations, and for whoever needs the whole metadata."""

import backend.audit.models
import backend.billing.models
import backend.core.idempotency
import backend.core.lifecycle
import backend.core.ticks
import backend.datasets.models
import backend.endpoints.models
import backend.events.models
import backend.fleet.models
import backend.identity.models
import backend.jobs.models
import backend.projects.models
import backend.registry.models  # noqa: F401 - imported for its tables
from backend.core.db import Base

METADATA = Base.metadata
