"""Imports every control, so that each registers itself with the Celery app and the tick.

The order is the tick's: what makes work comes before what counts it.
"""

import worker.tasks.jobs  # noqa: I001 - the order is the tick's
import worker.tasks.fleet
import worker.tasks.endpoints
import worker.tasks.billing
import worker.tasks.datasets
import worker.tasks.audit  # noqa: F401 - imported for its control
