"""Legal transitions of endpoints and replicas."""

CREATING = "creating"
IN_SERVICE = "in_service"
UPDATING = "updating"
OUT_OF_SERVICE = "out_of_service"
FAILED = "failed"
DELETING = "deleting"
DELETED = "deleted"

PENDING = "pending"
STARTING = "starting"
DRAINING = "draining"
STOPPING = "stopping"
STOPPED = "stopped"
LOST = "lost"

ENDPOINT: dict[str, frozenset[str]] = {
    CREATING: frozenset({IN_SERVICE, FAILED, DELETING}),
    IN_SERVICE: frozenset({UPDATING, OUT_OF_SERVICE, DELETING}),
    UPDATING: frozenset({IN_SERVICE, OUT_OF_SERVICE, FAILED, DELETING}),
    OUT_OF_SERVICE: frozenset({IN_SERVICE, UPDATING, FAILED, DELETING}),
    FAILED: frozenset({UPDATING, DELETING}),
    DELETING: frozenset({DELETED}),
    DELETED: frozenset(),
}

REPLICA: dict[str, frozenset[str]] = {
    PENDING: frozenset({STARTING, FAILED, STOPPED}),
    STARTING: frozenset({IN_SERVICE, STOPPING, STOPPED, FAILED, LOST}),
    IN_SERVICE: frozenset({DRAINING, STOPPING, STOPPED, FAILED, LOST}),
    DRAINING: frozenset({STOPPING, STOPPED, FAILED, LOST}),
    STOPPING: frozenset({STOPPED, FAILED, LOST}),
    STOPPED: frozenset(),
    FAILED: frozenset(),
    LOST: frozenset(),
}
ACTIVE = (PENDING, STARTING, IN_SERVICE)
"""Replicas that serve or will."""
BROKEN = (FAILED, LOST)
