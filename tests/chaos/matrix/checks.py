"""What must be true after a case: the right end, nothing left, nothing billed twice or forgotten."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.chaos.matrix.bill import faults_of
from tests.chaos.matrix.cases import CONTROL_PLANE, DATA_PLANE, DISK, KILL, Case
from tests.chaos.matrix.patience import eventually, must
from tests.chaos.matrix.rows import Rows
from tests.fixtures.platform import RunningPlatform
from worker.localhost.belongings import mark_of

GONE_SECONDS = 90.0
CGROUPS = Path("/sys/fs/cgroup")
LEASED = ("jobs", "endpoints", "instances")
UNRATED = """
    SELECT count(*) FROM usage_records JOIN instances ON instances.id::text = detail->>'instance_id'
    WHERE tag = ANY(%s) AND rated_at IS NULL
"""
FORGOTTEN = """
    SELECT assignments.id FROM assignments JOIN instances ON instances.id = instance_id
    WHERE tag = ANY(%s) AND started_at IS NOT NULL AND ended_at > started_at + interval '1 second'
      AND NOT EXISTS (SELECT 1 FROM usage_records WHERE source_id = subject_id)
"""


def check_job(rows: Rows, case: Case, name: str) -> None:
    """It completed, once, by attempts that ended as the fault allows, and made one model version."""
    found = rows.all("SELECT id, kind, status, status_reason FROM jobs WHERE name = %s", name)
    must(len(found) == 1, f"{len(found)} jobs are called {name}")
    id_, kind, status, reason = found[0]
    must(status == "completed", f"the job is {status}: {reason}")
    attempts = rows.all("SELECT status, failure->>'reason' FROM attempts WHERE job_id = %s ORDER BY number", id_)
    statuses = [each for each, _ in attempts]
    must(statuses[-1] == "completed" and set(statuses[:-1]) <= {"interrupted"}, f"attempts: {attempts}")
    shared_disk = (case.process, case.fault) == ("replica", DISK)  # the disk of instances, this job's too
    if case.process in (*CONTROL_PLANE, *DATA_PLANE) and not shared_disk:
        must(len(statuses) == 1, f"a fault of {case.process} cost an attempt: {attempts}")
    elif case.fault == KILL and case.process in ("trainer", "compressor"):
        must(len(statuses) > 1, "the job process was killed, and its attempt went on")
    versions = rows.one("SELECT count(*) FROM model_versions WHERE job_id = %s", id_)
    must(versions == (kind != "sleep"), f"{versions} model versions come of the {kind} job")
    ends = rows.one("SELECT count(*) FROM events WHERE resource_id = %s AND to_status = 'completed'", id_)
    must(ends == 1, f"the job completed {ends} times")


def check_endpoint(rows: Rows, name: str) -> None:
    """It was deleted, and no replica is open."""
    found = rows.all("SELECT id, status FROM endpoints WHERE name = %s", name)
    must(len(found) == 1, f"{len(found)} endpoints are called {name}")
    open_replicas = rows.all("SELECT id, status FROM replicas WHERE endpoint_id = %s AND ended_at IS NULL", found[0][0])
    must(not open_replicas, f"replicas are open: {open_replicas}")


def check_nothing_left(platform: RunningPlatform, rows: Rows, kept: Callable[[], set[str]]) -> None:
    """No instance, assignment, lease or file but those of the machines `kept`. Raises Red."""
    eventually(
        "every other instance to be terminated",
        lambda: {tag for (tag,) in rows.all("SELECT tag FROM instances WHERE terminated_at IS NULL")} == kept(),
        seconds=GONE_SECONDS,
    )
    held = rows.all(
        "SELECT assignments.id FROM assignments JOIN instances ON instances.id = instance_id"
        " WHERE assignments.ended_at IS NULL AND instances.terminated_at IS NOT NULL"
    )
    must(not held, f"assignments on machines that are gone are open: {held}")
    for table in LEASED:
        eventually(f"expired leases on {table} to be taken over", partial(_no_expired_lease, rows, table), seconds=40)
    for folder in ("instances", "localhost/machines"):
        there = {path.name.removesuffix(".json") for path in (platform.home / folder).iterdir()} - {"lost+found"}
        must(there == kept(), f"{folder} holds {there}, not {kept()}")
    staged = [str(path) for path in (platform.home / "objects").rglob("*#*")]
    must(not staged, f"temporary objects are left: {staged}")
    check_outside(rows)
    refused = [str(path) for path in platform.home.glob("instances/*/refused-usage/*")]
    must(not refused, f"usage segments were refused: {refused}")


def check_outside(rows: Rows) -> None:
    """Nor a folder of sockets or a cgroup of an assignment that has ended on a machine that is gone. Raises Red."""
    gone = "JOIN instances ON instances.id = instance_id WHERE instances.terminated_at IS NOT NULL"
    sockets = rows.all(f"SELECT socket_path FROM replicas {gone} AND socket_path IS NOT NULL")  # noqa: S608 - a constant
    left = [path for (path,) in sockets if Path(path).parent.exists()]
    must(not left, f"sockets of replicas are left: {left}")
    ids = {str(id_) for (id_,) in rows.all(f"SELECT assignments.id FROM assignments {gone}")}  # noqa: S608 - a constant
    groups = [str(each) for each in CGROUPS.glob("*/modelyard-*-*") if each.name.partition("-")[2][:36] in ids]
    groups += [str(each) for each in CGROUPS.glob("modelyard-*-*") if each.name.partition("-")[2][:36] in ids]
    must(not groups, f"cgroups are left: {groups}")


def _no_expired_lease(rows: Rows, table: str) -> bool:
    expired = "lease_token IS NOT NULL AND lease_expires_at < clock_timestamp()"
    return not rows.all(f"SELECT id FROM {table} WHERE {expired}")  # noqa: S608 - from a constant


def check_no_process(platform: RunningPlatform, tags: Sequence[str]) -> None:
    """No process bears the mark of these machines."""
    marks = [mark_of(platform.home, tag).encode() for tag in tags]
    marks += [str(platform.home / "instances" / tag).encode() for tag in tags]
    for process in (each for each in Path("/proc").iterdir() if each.name.isdigit()):
        words = b"".join(_read(process / part) for part in ("cmdline", "environ"))
        must(not any(mark in words for mark in marks), f"process {process.name} is left: {words[:300]!r}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def check_bill(platform: RunningPlatform, rows: Rows, tags: Sequence[str]) -> None:
    """Every millisecond of these machines, which have ended, is billed once or a named overhead. Raises Red."""
    eventually("its usage to be rated", lambda: not rows.one(UNRATED, list(tags)))
    faults = faults_of(platform, tags)
    must(not faults, f"the bill: {faults}")
    forgotten = rows.all(FORGOTTEN, list(tags))
    must(not forgotten, f"assignments that ran are not on the bill: {forgotten}")
