"""The rows of the sweep benchmark: live instances with running jobs, a long past, and jobs that wait. Plain SQL.

Everything is written as the server's administrator without triggers: a million jobs through the API would take an
hour and be the same rows. Tenants share the rows evenly.
"""

from datetime import datetime

import psycopg

SHAPE = "local.cpu"

TENANTS = """
    INSERT INTO organizations (id, account_id, name, slug)
    SELECT uuidv7(), (100000000000 + n)::text, 'organization ' || n, 'organization-' || n
    FROM generate_series(1, %(tenants)s) n;
    INSERT INTO projects (id, organization_id, name, description)
    SELECT uuidv7(), id, 'digits', '' FROM organizations;
    INSERT INTO instance_types (name, provider, vcpus, memory_bytes, gpus, description)
    VALUES ('%(shape)s', 'local', 2, 8589934592, 0, '');
    INSERT INTO prices (id, sku, unit, amount, currency, description, effective_from)
    VALUES (uuidv7(), 'instance:%(shape)s:on-demand', 'second', 0.000027778, 'USD', '', '2020-01-01');
    CREATE TABLE bench_tenants AS
    SELECT p.organization_id, p.id AS project_id, row_number() OVER (ORDER BY p.id) - 1 AS place FROM projects p;
"""

# A number names its job, attempt, instance and assignment: md5 makes the ids, so that no join is needed to find them.
NUMBERED = """
    CREATE TEMPORARY TABLE numbered AS
    SELECT n, t.organization_id, t.project_id,
        md5('%(set)s job ' || n)::uuid AS job_id, md5('%(set)s attempt ' || n)::uuid AS attempt_id,
        md5('%(set)s instance ' || n / %(jobs_per_instance)s)::uuid AS instance_id,
        md5('%(set)s assignment ' || n)::uuid AS assignment_id
    FROM generate_series(0, %(count)s - 1) n
    JOIN bench_tenants t ON t.place = (n / %(jobs_per_instance)s) %% (SELECT count(*) FROM bench_tenants);
"""
JOBS = """
    INSERT INTO jobs (id, organization_id, project_id, kind, name, parameters, inputs, output, instance_type, market,
        max_attempts, max_runtime_seconds, keep_alive_seconds, status, status_reason, progress, created_by, tags,
        attempt_count, created_at, started_at, ended_at, due_at)
    SELECT job_id, organization_id, project_id, 'sleep', '%(set)s-' || n, '{"seconds": 1}', '{}', '{}', '%(shape)s',
        'on-demand', 3, 3600, 0, %(job_status)s, '', '{}', 'benchmark', '{}', %(attempts)s,
        clock_timestamp() - n * interval '1 second', clock_timestamp(), %(ended)s, %(due)s
    FROM numbered;
"""
INSTANCES = """
    INSERT INTO instances (id, organization_id, project_id, tags, instance_type, market, provider, tag, status,
        status_reason, agent, requested_at, launched_at, ready_at, terminated_at, due_at)
    SELECT DISTINCT ON (instance_id) instance_id, organization_id, project_id, '{}'::jsonb, '%(shape)s', 'on-demand',
        'local', 'my-' || instance_id, %(instance_status)s, '', '{}'::jsonb, clock_timestamp(), clock_timestamp(),
        clock_timestamp() - interval '1 minute', %(ended)s::timestamptz, %(due)s::timestamptz
    FROM numbered;
"""
RUNS = """
    INSERT INTO attempts (id, organization_id, job_id, number, instance_id, assignment_id, status, status_reason,
        started_at, ended_at)
    SELECT attempt_id, organization_id, job_id, 1, instance_id, assignment_id, %(job_status)s, '',
        clock_timestamp(), %(ended)s FROM numbered;
    INSERT INTO assignments (id, organization_id, instance_id, subject_kind, subject_id, project_id, resource_kind,
        resource_id, resource_name, desired, spec, started_at, billed_until, ended_at)
    SELECT assignment_id, organization_id, instance_id, 'attempt', attempt_id, project_id, 'job', job_id,
        '%(set)s-' || n, 'run', '{}', clock_timestamp() - interval '10 days', clock_timestamp() - interval '10 days',
        %(ended)s FROM numbered;
    INSERT INTO events (id, organization_id, resource_kind, resource_id, from_status, to_status, reason, actor)
    SELECT uuidv7(), organization_id, 'job', job_id, 'queued', %(job_status)s, '', 'benchmark' FROM numbered;
"""
BILLED = """
    INSERT INTO usage_records (id, organization_id, project_id, source_kind, source_id, resource_kind, resource_id,
        resource_name, sku, quantity, from_at, to_at, detail, rated_at)
    SELECT md5('usage ' || n)::uuid, organization_id, project_id, 'attempt', attempt_id, 'job', job_id,
        '%(set)s-' || n, 'instance:%(shape)s:on-demand', 1, '2026-01-01'::timestamptz,
        '2026-01-01'::timestamptz + interval '1 second', '{}', clock_timestamp() FROM numbered;
    INSERT INTO charges (id, organization_id, project_id, usage_record_id, price_id, resource_kind, resource_id,
        resource_name, sku, quantity, unit, unit_price, amount, from_at, to_at)
    SELECT uuidv7(), organization_id, project_id, md5('usage ' || n)::uuid, (SELECT id FROM prices LIMIT 1), 'job',
        job_id, '%(set)s-' || n, 'instance:%(shape)s:on-demand', 1, 'second', 0.000027778, 0.000027778,
        '2026-01-01'::timestamptz, '2026-01-01'::timestamptz + interval '1 second' FROM numbered;
"""
HEARD = """
    INSERT INTO instance_heartbeats (instance_id, organization_id) SELECT instance_id, organization_id FROM numbered;
    INSERT INTO assignment_heartbeats (assignment_id, organization_id, epoch, elapsed_seconds)
    SELECT assignment_id, organization_id, 1, 0 FROM numbered;
    INSERT INTO report_cursors (assignment_id, epoch, organization_id, last_seq)
    SELECT assignment_id, 1, organization_id, 0 FROM numbered;
"""
EVERYTHING_DUE = """
    UPDATE jobs SET due_at = clock_timestamp(), lease_token = NULL WHERE status = 'running';
    UPDATE instances SET due_at = clock_timestamp(), lease_token = NULL WHERE status = 'ready';
    UPDATE instance_heartbeats SET received_at = clock_timestamp();
    UPDATE assignment_heartbeats SET received_at = clock_timestamp();
    INSERT INTO api_uptime (id, up_since, beat_at) VALUES (1, clock_timestamp() - interval '1 hour', clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET up_since = excluded.up_since, beat_at = excluded.beat_at;
"""
# So many running jobs have news of their agent, and so many instances a slice of usage to write.
SOME_BUSY = """
    CREATE TEMPORARY TABLE busy AS
    SELECT id, organization_id FROM assignments WHERE ended_at IS NULL ORDER BY id LIMIT %(busy)s;
    UPDATE assignment_heartbeats h SET elapsed_seconds = elapsed_seconds + 60 FROM busy WHERE assignment_id = busy.id;
    INSERT INTO reports (id, organization_id, assignment_id, epoch, seq, kind, elapsed_seconds, body)
    SELECT uuidv7(), organization_id, id, 1, %(seq)s, 'progress', 1,
        '{"type": "progress", "step": 1, "total_steps": 9, "phase": "training"}' FROM busy;
    DROP TABLE busy;
"""
DROP_PLACED = """
    UPDATE jobs SET due_at = NULL WHERE created_by = 'benchmark' AND name LIKE 'waiting%%';
    UPDATE instances SET due_at = NULL WHERE id IN (SELECT instance_id FROM attempts WHERE status = 'starting');
"""


class Estate:
    """One migrated database of the benchmark, written as the server's administrator."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute("SET session_replication_role = replica")
        self._seq = 0

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()

    def add_tenants(self, tenants: int) -> None:
        """Organizations with a project each, one instance type with a price."""
        self._run(TENANTS, {"tenants": str(tenants), "shape": SHAPE})

    def add_live(self, count: int) -> list[str]:
        """`count` ready instances, each with a running job whose agent speaks. Returns the machines' tags."""
        values = self._values("live", count, job="'running'", instance="'ready'", due="clock_timestamp()")
        self._run(NUMBERED + JOBS + INSTANCES + RUNS + HEARD, values)
        tags = [f"my-{row[0]}" for row in self._connection.execute("SELECT instance_id FROM numbered")]
        self._connection.execute("DROP TABLE numbered")
        return tags

    def add_past(self, count: int, *, jobs_per_instance: int = 10) -> None:
        """`count` ended jobs with attempt, assignment, event, usage and charge, on instances that are gone."""
        values = self._values("past", count, job="'completed'", instance="'terminated'", due="NULL")
        values |= {"ended": "clock_timestamp()", "jobs_per_instance": str(jobs_per_instance)}
        self._run(NUMBERED + JOBS + INSTANCES + RUNS + BILLED + "DROP TABLE numbered;", values)

    def add_waiting(self, name: str, count: int) -> None:
        """`count` queued jobs that are due, and an idle instance for each. Takes away what an earlier call added."""
        values = self._values(f"waiting-{name}", count, job="'queued'", instance="'ready'", due="NULL")
        self._run(DROP_PLACED + NUMBERED + INSTANCES, values)
        self._run(JOBS + "DROP TABLE numbered;", values | {"due": "clock_timestamp()", "attempts": "0"})

    def make_due(self, busy: int) -> datetime:
        """Every live row is due and heard of; `busy` of them have a report and a slice to write. Returns the time."""
        self._seq += 1
        self._run(EVERYTHING_DUE + SOME_BUSY, {"busy": str(busy), "seq": str(self._seq)})
        row = self._connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    def count_due(self, moment: datetime) -> int:
        """Jobs and instances that were due then and still are."""
        due = (
            "SELECT (SELECT count(*) FROM jobs WHERE due_at <= %s)"
            " + (SELECT count(*) FROM instances WHERE due_at <= %s)"
        )
        row = self._connection.execute(due, (moment, moment)).fetchone()
        assert row is not None
        return int(row[0])

    def count_placed(self, name: str) -> int:
        """Of the jobs that `add_waiting` added, those that have an instance."""
        placed = "SELECT count(*) FROM jobs WHERE name LIKE %s AND status = 'starting'"
        row = self._connection.execute(placed, (f"waiting-{name}-%",)).fetchone()
        assert row is not None
        return int(row[0])

    def analyze(self) -> None:
        """Fresh statistics, and no autovacuum in the middle of a sweep."""
        self._connection.execute("VACUUM ANALYZE")
        self._connection.execute("CHECKPOINT")

    def _values(self, name: str, count: int, *, job: str, instance: str, due: str) -> dict[str, str]:
        return {
            "set": name,
            "count": str(count),
            "jobs_per_instance": "1",
            "shape": SHAPE,
            "job_status": job,
            "instance_status": instance,
            "attempts": "1",
            "ended": "NULL::timestamptz",
            "due": due,
        }

    def _run(self, statements: str, values: dict[str, str]) -> None:
        """Statements of this module, filled with words of this module."""
        for statement in filter(str.strip, statements.split(";")):
            self._connection.execute((statement % values).encode())
