"""The job kinds of this build, registered with the engine: called once by each composition root."""

from backend.compression_jobs.kind import CompressionKind
from backend.jobs.kinds import register
from backend.jobs.sleeping import SleepKind
from backend.training_jobs.kind import TrainingKind


def install() -> None:
    """Register every kind; calling it again changes nothing."""
    for kind in (SleepKind(), TrainingKind(), CompressionKind()):
        register(kind)
