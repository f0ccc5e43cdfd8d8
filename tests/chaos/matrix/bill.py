"""What the independent audit (`benchmarks.audit`) says of some machines, or of a whole home."""

from collections.abc import Sequence

from benchmarks.audit import Audit, audit_machine, audit_machines, replay, slices_by_tag
from tests.fixtures.platform import RunningPlatform


def faults_of(platform: RunningPlatform, tags: Sequence[str]) -> list[str]:
    """Of machines that have ended and whose usage is rated: what is billed twice, not at all, or without them."""
    moments: dict[str, dict[str, int]] = {}
    for event in platform.provider_events():
        moments.setdefault(event["tag"], {})[event["event"]] = event["wall_ns"] // 10**6
    with platform.database("operator").engine.connect() as connection:
        slices = slices_by_tag(connection)
    audit = Audit()
    for tag in tags:
        life = moments.get(tag, {})
        if "running" in life:
            audit_machine(audit, tag, life["running"], life["terminated"], slices.get(tag, []))
        elif slices.get(tag):
            audit.fault(f"{tag} is billed and never ran", sum(one.to_ms - one.from_ms for one in slices[tag]))
    return audit.faults


def faults_of_all(platform: RunningPlatform) -> list[str]:
    """Of the whole home, all machines of which have ended; every record is delivered once more."""
    with platform.database("operator").engine.connect() as connection:
        audit = audit_machines(platform.home / "localhost" / "log.jsonl", connection)
    with platform.database("controller").engine.begin() as connection:
        replayed = replay(connection)
    if audit.machines == 0:
        return ["the audit saw no machine"]
    return audit.faults if replayed["identical"] else [*audit.faults, "a replay changed the bill"]
