"""Legal transitions of an instance."""

REQUESTED = "requested"
PROVISIONING = "provisioning"
READY = "ready"
TERMINATING = "terminating"
TERMINATED = "terminated"

TRANSITIONS: dict[str, frozenset[str]] = {
    REQUESTED: frozenset({PROVISIONING, TERMINATING}),
    PROVISIONING: frozenset({READY, TERMINATING}),
    READY: frozenset({TERMINATING}),
    TERMINATING: frozenset({TERMINATED}),
    TERMINATED: frozenset(),
}
