"""What a red case leaves to read: its rows, what its clients were told, the end of every log."""

import json
from pathlib import Path

import psycopg

from tests.chaos.matrix.load import Tally
from tests.chaos.matrix.patience import Red
from tests.chaos.matrix.rows import Rows
from tests.fixtures.platform import RunningPlatform

TAIL_BYTES = 60_000
QUERIES = {
    "jobs": "SELECT row_to_json(jobs) FROM jobs WHERE name = %s",
    "attempts": "SELECT row_to_json(attempts) FROM attempts JOIN jobs ON jobs.id = job_id WHERE name = %s",
    "endpoints": "SELECT row_to_json(endpoints) FROM endpoints WHERE name = %s",
    "replicas": (
        "SELECT row_to_json(replicas) FROM replicas JOIN endpoints ON endpoints.id = endpoint_id WHERE name = %s"
    ),
    "instances": (
        "SELECT json_build_array(tag, status, status_reason, requested_for, requested_at, ready_at, drain_requested_at,"
        " terminating_at, terminated_at, lease_expires_at, due_at) FROM instances WHERE %s <> '' ORDER BY requested_at"
    ),
    "assignments": "SELECT row_to_json(assignments) FROM assignments WHERE resource_name = %s",
    "events": "SELECT row_to_json(events) FROM events WHERE %s <> '' ORDER BY at DESC LIMIT 200",
    "usage": "SELECT row_to_json(usage_records) FROM usage_records WHERE resource_name = %s ORDER BY from_at",
    "reports": (
        "SELECT row_to_json(reports) FROM reports JOIN assignments ON assignments.id = assignment_id"
        " WHERE resource_name = %s ORDER BY received_at"
    ),
}


def keep(folder: Path, platform: RunningPlatform, name: str, problem: str, tallies: dict[str, Tally | None]) -> None:
    """Write it all to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problem.txt").write_text(problem)
    clients = {client: vars(tally) for client, tally in tallies.items() if tally is not None}
    (folder / "clients.json").write_text(json.dumps(clients, indent=1))
    (folder / "provider.jsonl").write_bytes(_tail(platform.home / "localhost" / "log.jsonl"))
    for log in (platform.home / "logs").glob("*.log"):
        (folder / log.name).write_bytes(_tail(log))
    (folder / "up.log").write_bytes(_tail(platform.log))
    rows = Rows(platform, patience_seconds=5.0)
    try:
        for table, query in QUERIES.items():
            found = rows.all(query, name)
            (folder / f"{table}.jsonl").write_text("".join(json.dumps(row) + "\n" for (row,) in found))
    except (Red, psycopg.Error) as error:
        (folder / "rows.txt").write_text(str(error))
    finally:
        rows.close()


def _tail(path: Path) -> bytes:
    try:
        return path.read_bytes()[-TAIL_BYTES:]
    except OSError as error:
        return str(error).encode()
