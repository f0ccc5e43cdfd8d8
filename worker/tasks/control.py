"""Imports every control, so that each registers itself with the Celery app and the tick.

The order is the tick's: what makes work comes before what counts it.
"""

