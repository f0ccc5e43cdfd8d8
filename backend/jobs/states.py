"""Legal transitions of jobs and attempts."""

QUEUED = "queued"
PROVISIONING = "provisioning"
STARTING = "starting"
RUNNING = "running"
STOPPING = "stopping"
COMPLETED = "completed"
FAILED = "failed"
STOPPED = "stopped"
INTERRUPTED = "interrupted"

JOB: dict[str, frozenset[str]] = {
    QUEUED: frozenset({PROVISIONING, STARTING, STOPPED, FAILED}),
    PROVISIONING: frozenset({QUEUED, STARTING, STOPPED, FAILED}),
    STARTING: frozenset({RUNNING, STOPPING, QUEUED, COMPLETED, FAILED, STOPPED}),
    RUNNING: frozenset({STOPPING, QUEUED, COMPLETED, FAILED, STOPPED}),
    STOPPING: frozenset({STOPPED, COMPLETED, FAILED}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    STOPPED: frozenset(),
}
FINAL = frozenset({COMPLETED, FAILED, STOPPED})
ALL = tuple(JOB)
UNFINISHED = tuple(status for status in JOB if status not in FINAL)

ATTEMPT: dict[str, frozenset[str]] = {
    STARTING: frozenset({RUNNING, COMPLETED, FAILED, STOPPED, INTERRUPTED}),
    RUNNING: frozenset({COMPLETED, FAILED, STOPPED, INTERRUPTED}),
    COMPLETED: frozenset(),
    FAILED: frozenset(),
    STOPPED: frozenset(),
    INTERRUPTED: frozenset(),
}
