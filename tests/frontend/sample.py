"""Sample view models for looking at pages: every state that a job can show, none of it from a database.

`SamplePlatform` is a gallery for templates, styles and scripts (`python -m tests.frontend.shots`). That the
pages show the platform's own rows is tested in `test_dashboard.py`.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from backend.core.auth import Principal
from backend.fleet.utilisation import Use
from backend.jobs.errors import JobAlreadyFinished, JobNotFound
from frontend.views import (
    AttemptView,
    Curves,
    EventView,
    FailureView,
    Hit,
    HitGroup,
    JobDetail,
    JobList,
    JobQuery,
    JobSummary,
    JobUse,
    LogLine,
    LogPage,
    ProjectLink,
    Series,
    Shell,
)

EMAIL, PASSWORD = "owner@example.com", "correct horse battery staple"
VIEWER = Principal(
    kind="user",
    id=UUID(int=1),
    name="Ada Owner",
    organization_id=UUID(int=2),
    account_id="482910374655",
    role="owner",
)
NOW = datetime.now(UTC)
FINAL = {"completed", "failed", "stopped"}


def job(name: str, status: str, **changes: object) -> JobSummary:
    """A job in one state."""
    begun = status not in {"queued", "provisioning"}
    given: dict[str, object] = {
        "id": f"01920000-0000-7000-8000-{abs(hash(name)) % 10**12:012d}",
        "name": name,
        "kind": "training",
        "status": status,
        "final": status in FINAL,
        "stopping": False,
        "project_name": "handwriting",
        "instance_type": "local.cpu",
        "reason": None,
        "phase": "epoch 7 of 15" if status == "running" else None,
        "progress": 0.42 if status == "running" else None,
        "seconds_left": 93.0 if status == "running" else None,
        "created_at": NOW - timedelta(minutes=14),
        "started_at": NOW - timedelta(minutes=12) if begun else None,
        "ended_at": NOW - timedelta(minutes=2) if status in FINAL else None,
        "seconds": 612.25 if begun else None,
        "cost": Decimal("0.042148390000") if begun else None,
    }
    return JobSummary(**(given | changes))  # type: ignore[arg-type] # sample rows are built from words


JOBS = [
    job("mnist-cnn-a", "running", reason="Training on local.cpu."),
    job("mnist-cnn-b", "queued", reason="Waits for a free instance of local.cpu."),
    job("mnist-cnn-c", "provisioning", reason="A local instance is starting."),
    job("mnist-int8", "completed", kind="compression", reason="Registered mnist version 2."),
    job(
        "a-training-with-a-rather-long-name-that-has-to-wrap-on-a-phone",
        "failed",
        reason="The process ran out of memory at 2.0 GiB.",
        cost=Decimal("12.481000000000"),
        seconds=8048.5,
    ),
    job("mnist-lr-sweep-3", "stopped", reason="Stopped by ada@example.com."),
    job("mnist-restart", "interrupted", reason="The instance was taken back; it waits for another."),
]


def detail(summary: JobSummary) -> JobDetail:
    """The page of a sample job."""
    failure = None
    if summary.status == "failed":
        failure = FailureView(
            failure_class="out_of_memory",
            reason="The process ran out of memory at 2.0 GiB.",
            hint="Use a smaller batch_size, or an instance type with more memory.",
            exit_code=-9,
            peak_memory_bytes=2_147_000_000,
            log_tail=["epoch 3 step 412", "Killed"],
        )
    events = [
        EventView(at=NOW - timedelta(minutes=12), subject="job", to_status="running",
                  reason="The process started.", who="agent local-1"),
        EventView(at=NOW - timedelta(minutes=14), subject="job", to_status="queued",
                  reason="Submitted.", who="ada@example.com"),
    ]  # fmt: skip
    attempts = [
        AttemptView(number=1, status=summary.status, instance=str(UUID(int=77)),
                    started_at=summary.started_at, ended_at=summary.ended_at, seconds=summary.seconds, reason=None)
    ]  # fmt: skip
    return JobDetail(
        summary=summary,
        failure=failure,
        attempts=attempts if summary.started_at else [],
        events=events,
        facts={
            "parameters": {"epochs": 15, "learning_rate": 0.002, "augmentation.rotation_degrees": 12.0},
            "tags": {"team": "vision"},
        },
    )


def curves() -> list[Series]:
    """Loss, accuracy and one more metric of a plausible training."""
    steps = list(range(0, 700, 5))
    noise = [math.sin(step * 12.9898) * 43758.5453 % 1 - 0.5 for step in steps]
    times = [NOW.timestamp() - 700 + step for step in steps]
    loss = [2.3 * math.exp(-step / 120) + 0.06 + 0.12 * n for step, n in zip(steps, noise, strict=True)]
    epochs = [step for step in steps if step % 45 == 0]
    at = [NOW.timestamp() - 700 + step for step in epochs]
    validation = [2.3 * math.exp(-step / 110) + 0.09 for step in epochs]
    accuracy = [0.985 - 0.88 * math.exp(-step / 90) for step in epochs]
    return [
        Series(name="train/loss", steps=steps, values=loss, times=times),
        Series(name="validation/loss", steps=epochs, values=validation, times=at),
        Series(name="train/accuracy", steps=epochs, values=[a - 0.012 for a in accuracy], times=at),
        Series(name="validation/accuracy", steps=epochs, values=accuracy, times=at),
        Series(name="learning_rate", steps=steps, values=[0.002 * (1 - s / 900) for s in steps], times=times),
    ]


class SamplePlatform:
    """Answers pages from the samples above."""

    def __init__(self, jobs: Sequence[JobSummary] = tuple(JOBS)) -> None:
        self.jobs = list(jobs)
        self.sessions: set[str] = set()

    def log_in(self, email: str, password: str, address: str) -> str | None:
        assert address
        if (email, password) != (EMAIL, PASSWORD):
            return None
        self.sessions.add("sample")
        return "sample"

    def log_out(self, token: str) -> None:
        self.sessions.discard(token)

    def identify(self, token: str) -> Principal | None:
        return VIEWER if token in self.sessions else None

    def shell(self, viewer: Principal) -> Shell:
        assert viewer == VIEWER
        active = sum(not one.final for one in self.jobs)
        projects = [ProjectLink(id="p1", name="handwriting"), ProjectLink(id="p2", name="house numbers")]
        return Shell(
            email=EMAIL,
            organization_name="Example Laboratories",
            projects=projects,
            active_jobs=active,
            month_to_date=Decimal("37.204800000000"),
        )

    def search(self, viewer: Principal, words: str) -> list[HitGroup]:
        assert viewer == VIEWER
        hits = [
            Hit(id=f"job-{one.id}", name=one.name, path=f"/training/{one.id}", note=one.status)
            for one in self.jobs
            if words in one.name
        ]
        return [HitGroup(kind="job", hits=hits)] if hits else []

    def list_jobs(self, viewer: Principal, query: JobQuery, *, limit: int) -> JobList:
        assert viewer == VIEWER
        found = [
            one
            for one in self.jobs
            if (not query.status or one.status == query.status)
            and (not query.kind or one.kind == query.kind)
            and (not query.text or query.text in one.name)
        ]
        return JobList(
            jobs=found[:limit],
            next_cursor=None,
            statuses=["queued", "running", "completed", "failed", "stopped"],
            kinds=["training", "compression"],
            sorts=["name", "created_at"],
        )

    def get_job(self, viewer: Principal, job_id: str) -> JobDetail:
        assert viewer == VIEWER
        for one in self.jobs:
            if one.id == job_id:
                return detail(one)
        raise JobNotFound("No such job.")

    def read_metrics(self, viewer: Principal, job_id: str, *, known: str) -> Curves:
        one = self.get_job(viewer, job_id).summary
        version = f"{one.status}"
        series = curves() if one.started_at else []
        return Curves(version=version, final=one.final, series=None if version == known else series)

    def read_use(self, viewer: Principal, job_id: str) -> JobUse:
        one = self.get_job(viewer, job_id).summary
        begin = one.started_at or NOW
        use = Use(cpu_count=2.0, memory_limit_bytes=4 << 30)
        for second in range(60 if one.started_at else 0):
            use.times.append(begin.timestamp() + second + 1)
            use.spans.append(1.0)
            use.cpu_cores.append(1.6 + second % 5 / 10)
            use.memory_bytes.append((1 << 29) + second * 1e7)
            use.read_bytes_per_second.append(2e6 if second < 5 else 0.0)
            use.written_bytes_per_second.append(5e6 if second % 15 == 14 else 0.0)
            use.gpu_share.append(None)
            use.gpu_memory_bytes.append(None)
        end = one.ended_at or begin + timedelta(seconds=62)
        return JobUse(begin=one.created_at, end=end, final=one.final, attempts=[(1, use)] if use.times else [])

    def read_logs(self, viewer: Principal, job_id: str, *, after: str | None) -> LogPage:
        one = self.get_job(viewer, job_id).summary
        if not one.started_at or after:
            return LogPage(lines=[], after=after or "0", more=False, skipped=False)
        lines = [
            LogLine(
                at=NOW - timedelta(seconds=60 - n),
                text=f"epoch {n // 4} step {n * 12} train_loss {1 / (n + 1):.4f}",
            )
            for n in range(60)
        ]
        return LogPage(lines=lines, after="60", more=False, skipped=False)

    def stop_job(self, viewer: Principal, job_id: str) -> None:
        one = self.get_job(viewer, job_id).summary
        if one.final:
            raise JobAlreadyFinished(f"{one.name} has already ended.")
        changed = job(one.name, one.status, stopping=True, reason="Stop requested.", id=one.id)
        self.jobs[self.jobs.index(one)] = changed
