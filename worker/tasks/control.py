"""Imports every control, so that each registers itself with the Celery app and the tick.

The order is the tick's: what makes work comes before what counts it.
"""

# ruff: noqa: F401, I001 - imported for their controls; the order is the tick's
import worker.tasks.jobs
import worker.tasks.fleet
import worker.tasks.endpoints
import worker.tasks.events
import worker.tasks.billing
import worker.tasks.datasets
import worker.tasks.imports
import worker.tasks.audit
import worker.tasks.idempotency
