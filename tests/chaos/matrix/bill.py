"""What the independent audit (`benchmarks.audit`) says of some machines, or of a whole home."""

from collections.abc import Sequence

from benchmarks.audit import Audit, audit, audit_time
from benchmarks.books import Books, read_books
from tests.fixtures.platform import RunningPlatform

COLUMNS = (
    "organization_id, project_id, source_kind, source_id, resource_kind, resource_id, resource_name, sku, quantity,"
    " from_at, to_at, detail"
)
AGAIN = (
    f"INSERT INTO usage_records (id, {COLUMNS}) SELECT gen_random_uuid(), {COLUMNS} FROM usage_records"  # noqa: S608 - constants
    " ON CONFLICT DO NOTHING"
)


def faults_of(platform: RunningPlatform, tags: Sequence[str]) -> list[str]:
    """Of machines that have ended and whose usage is rated: what is billed twice, not at all, or without them."""
    books = _books(platform)
    found = Audit()
    audit_time(
        found,
        Books(
            machines=[machine for machine in books.machines if machine.tag in tags],
            duties=[duty for duty in books.duties if duty.tag in tags],
            usage=[one for one in books.usage if one.kind != "calls" and one.tag in tags],
        ),
    )
    return found.faults


def faults_of_all(platform: RunningPlatform) -> list[str]:
    """Of the whole home, all machines of which have ended; every record is delivered once more."""
    found = audit(_books(platform))
    if found.machines == 0:
        return ["the audit saw no machine"]
    return [*found.faults, *_replay(platform)]


def _replay(platform: RunningPlatform) -> list[str]:
    """Deliver every usage record again: what that changed, or nothing."""
    bill = "SELECT count(*), coalesce(sum(quantity), 0) FROM usage_records"
    with platform.database("controller").engine.begin() as connection:
        before = connection.exec_driver_sql(bill).one()
        connection.exec_driver_sql(AGAIN)
        after = connection.exec_driver_sql(bill).one()
    return [] if tuple(before) == tuple(after) else [f"a replay changed the bill from {before} to {after}"]


def _books(platform: RunningPlatform) -> Books:
    with platform.database("operator").engine.connect() as connection:
        return read_books(platform.home / "localhost" / "log.jsonl", connection)
