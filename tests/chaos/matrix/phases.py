"""When a subject is in a phase, told by its rows (and, for an upload, by the files it uploads)."""

from collections.abc import Callable

from tests.chaos.matrix.cases import COMPRESSION, ENDPOINT, TRAINING
from tests.chaos.matrix.rows import Rows
from tests.fixtures.platform import RunningPlatform

Look = Callable[[], bool]
JOB = "EXISTS (SELECT 1 FROM jobs WHERE name = %s AND ({0}))"
REPORTED = JOB.format(
    "EXISTS (SELECT 1 FROM reports JOIN attempts ON attempts.assignment_id = reports.assignment_id"
    " WHERE attempts.job_id = jobs.id AND {0})"
)
PROGRESS = "reports.kind = 'progress' AND reports.body->>'phase' = '{0}'"
QUANTIZING = (
    "reports.kind = 'progress' AND reports.body->>'phase' IN ('compressing', 'writing a candidate, every-layer')"
)
ENDPOINTS = "EXISTS (SELECT 1 FROM endpoints WHERE name = %s AND ({0}))"
CONFIGS = "(SELECT count(*) FROM endpoint_configs WHERE endpoint_id = endpoints.id) >= {0}"
WRITTEN = {"uploading": ("artifact/signature.json", 1), "gate": ("candidates/*.onnx", 3)}
"""Phases that files tell first: the last one of the artifact (then uploaded), the last candidate (then judged)."""
FINAL = ("completed", "failed", "stopped")

SEEN: dict[tuple[str, str], str] = {
    (TRAINING, "queued"): JOB.format("true"),
    (TRAINING, "provisioning"): JOB.format("status <> 'queued'"),
    (TRAINING, "starting"): JOB.format("attempt_count > 0"),
    (TRAINING, "running"): JOB.format("status = 'running'"),
    (TRAINING, "checkpointed"): JOB.format("EXISTS (SELECT 1 FROM checkpoints WHERE job_id = jobs.id)"),
    (TRAINING, "exporting"): REPORTED.format(PROGRESS.format("exporting the model")),
    (TRAINING, "ending"): JOB.format("ended_at IS NOT NULL"),
    (COMPRESSION, "starting"): JOB.format("attempt_count > 0"),
    (COMPRESSION, "quantizing"): REPORTED.format(QUANTIZING),
    (COMPRESSION, "registering"): REPORTED.format("reports.kind = 'ended'"),
    (ENDPOINT, "creating"): ENDPOINTS.format("true"),
    (ENDPOINT, "starting"): ENDPOINTS.format(
        "EXISTS (SELECT 1 FROM replicas WHERE endpoint_id = endpoints.id AND replicas.status = 'starting')"
    ),
    (ENDPOINT, "serving"): ENDPOINTS.format("status = 'in_service'"),
    (ENDPOINT, "weights"): ENDPOINTS.format(CONFIGS.format(2)),
    (ENDPOINT, "variants"): ENDPOINTS.format(CONFIGS.format(2) + " AND status = 'updating'"),
    (ENDPOINT, "deleting"): ENDPOINTS.format("delete_requested_at IS NOT NULL"),
}


def look_for(platform: RunningPlatform, rows: Rows, subject: str, phase: str, name: str) -> Look:
    """A question, quick to ask: has the subject of this name come to the phase?"""
    query = SEEN.get((subject, phase))
    if query is None:
        return lambda: _written(platform, rows, name, *WRITTEN[phase])
    return lambda: bool(rows.one(f"SELECT {query}", name))


def _written(platform: RunningPlatform, rows: Rows, name: str, pattern: str, count: int) -> bool:
    """So many files of a pattern lie in the job folder."""
    tags = rows.all(
        "SELECT instances.tag FROM instances JOIN attempts ON attempts.instance_id = instances.id"
        " JOIN jobs ON jobs.id = attempts.job_id WHERE jobs.name = %s",
        name,
    )
    folders = [platform.home / "instances" / tag for (tag,) in tags]
    return any(len(list(folder.glob(f"assignments/*/job/work/{pattern}"))) >= count for folder in folders)


def where(rows: Rows, subject: str, name: str) -> str:
    """The status at this moment, for the record of a strike."""
    table = "endpoints" if subject == ENDPOINT else "jobs"
    return str(rows.one(f"SELECT status FROM {table} WHERE name = %s ORDER BY created_at DESC LIMIT 1", name))  # noqa: S608 - one of two names
