"""Legal transitions of an upload."""

UPLOAD_TRANSITIONS: dict[str, frozenset[str]] = {
    "open": frozenset({"completed", "failed", "aborted"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "aborted": frozenset(),
}
