"""The job kinds of this build and the owners of assignments, registered once by each composition root."""

from backend import tables
from backend.compression_jobs.kind import CompressionKind
from backend.endpoints import subject as endpoints
from backend.jobs import subject as jobs
from backend.jobs.kinds import register
from backend.jobs.sleeping import SleepKind
from backend.training_jobs.kind import TrainingKind

KNOWN_TABLES = frozenset(tables.METADATA.tables)
"""Importing every table here is the point: foreign keys between rooms resolve in whatever process composes them."""


def install() -> None:
    """Register every kind and every subject; calling it again changes nothing."""
    for kind in (SleepKind(), TrainingKind(), CompressionKind()):
        register(kind)
    jobs.install()
    endpoints.install()
