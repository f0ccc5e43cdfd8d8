"""What a job's attempts used: the document behind the strips, its words, and who may see it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from babel import Locale
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.core.ids import new_id
from backend.fleet.utilisation import Use
from backend.jobs import states
from frontend.format import Formatter
from frontend.views import JobUse, strips
from tests.frontend.conftest import Member
from tests.frontend.test_admin import operator  # noqa: F401 - a fixture
from tests.frontend.training_room import enter
from tests.frontend.used import GIB, Uses, uses  # noqa: F401 - a fixture

pytestmark = pytest.mark.integration

HTML = {"Accept": "text/html"}
BEGIN = datetime(2026, 11, 1, 10, tzinfo=UTC)


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


def drawn(visitor: TestClient, job_id: UUID) -> dict[str, Any]:
    answer = visitor.get(f"/training/{job_id}/utilisation")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_strips_share_the_timelines_axis(
    visitor: TestClient,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    uses: Uses,  # noqa: F811
) -> None:
    member = make_member("viewer")
    job_id = make_job(member.tenant, "watched")
    uses(member.tenant, job_id)
    enter(visitor, member)
    assert f'data-figure="/training/{job_id}/utilisation"' in visitor.get(f"/training/{job_id}").text
    figure = drawn(visitor, job_id)
    assert (figure["kind"], figure["final"], figure["every_seconds"]) == ("strips", False, 5)
    assert datetime.fromisoformat(figure["x_from"]) <= datetime.fromisoformat(figure["x_to"])
    named = {one["name"]: one for one in figure["series"]}
    assert list(named) == ["CPU", "Memory", "Read", "Written"]
    assert (named["CPU"]["upper"], named["CPU"]["unit"]) == (2.0, "count")
    assert (named["Memory"]["upper"], named["Memory"]["unit"]) == (4.0 * GIB, "bytes")
    assert named["Read"]["strip"] == named["Written"]["strip"] == "Disk, bytes per second"
    assert all(len(one["values"]) == len(figure["x"]) == 82 for one in named.values())
    assert named["CPU"]["values"][-1] is None
    assert figure["note"] == (
        "CPU at most 1.9 of 2 cores, 1.9 on average; memory at most 3.0 GiB of 4.0 GiB."
        " 128.0 MiB read from disk, 40.0 MiB written. No GPU was measured."
    )


def test_an_unmeasured_job_has_an_empty_figure(
    visitor: TestClient, make_member: Callable[..., Member], make_job: Callable[..., UUID]
) -> None:
    member = make_member()
    enter(visitor, member)
    figure = drawn(visitor, make_job(member.tenant, "unmeasured", states.COMPLETED))
    assert (figure["x"], figure["note"], figure["final"]) == ([], "", True)
    assert all(one["values"] == [] for one in figure["series"])


def test_nobody_sees_what_another_organizations_job_used(
    visitor: TestClient,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    uses: Uses,  # noqa: F811
) -> None:
    theirs = make_member()
    job_id = make_job(theirs.tenant, "theirs")
    uses(theirs.tenant, job_id)
    assert visitor.get(f"/training/{job_id}/utilisation").status_code in (303, 401)
    enter(visitor, make_member())
    for each in (job_id, new_id(), "no-id"):
        assert visitor.get(f"/training/{each}/utilisation").status_code == 404


def test_the_console_shows_what_an_instance_uses_now(
    visitor: TestClient,
    operator: Member,  # noqa: F811 - a fixture
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    uses: Uses,  # noqa: F811 - a fixture
) -> None:
    theirs = make_member()
    uses(theirs.tenant, make_job(theirs.tenant, "busy"))
    enter(visitor, operator)
    listed = visitor.get("/admin/instances", params={"organization": str(theirs.tenant.organization_id)}).text
    assert "1.9 of 2 cores, 3.0 GiB of 4.0 GiB" in listed
    assert "GPU" not in listed.partition("1.9 of 2 cores")[2].partition("</td>")[0]


def said(*uses_: Use) -> str:
    """The words about attempts that used this."""
    used = JobUse(begin=BEGIN, end=BEGIN + timedelta(minutes=5), final=True, attempts=list(enumerate(uses_, start=1)))

    def say(message: str, /, **values: str | int) -> str:
        return message % values

    return strips.figure(used, say, Formatter(Locale("en"))).note


def use(seconds: int, *, cores: float = 1.0, memory: float = GIB, gpu: float | None = None) -> Use:
    gpu_memory = None if gpu is None else 2.0 * GIB
    return Use(
        cpu_count=2.0,
        memory_limit_bytes=4 * GIB,
        gpu_count=0 if gpu is None else 1,
        gpu_memory_limit_bytes=0 if gpu is None else 8 * GIB,
        times=[BEGIN.timestamp() + second for second in range(seconds)],
        spans=[1.0] * seconds,
        cpu_cores=[cores] * seconds,
        memory_bytes=[memory] * seconds,
        read_bytes_per_second=[0.0] * seconds,
        written_bytes_per_second=[0.0] * seconds,
        gpu_share=[gpu] * seconds,
        gpu_memory_bytes=[gpu_memory] * seconds,
    )


def test_hints_are_told_where_the_figures_show_them() -> None:
    waiting = said(use(60, cores=1.9, gpu=0.23))
    assert "GPU 23% busy on average, its memory at most 2.0 GiB of 8.0 GiB." in waiting
    assert "The CPU keeps the GPU waiting: the cores are 95% busy, the GPU 23%." in waiting
    assert "waiting" not in said(use(60, cores=1.9, gpu=0.9))
    assert "waiting" not in said(use(60, cores=0.5, gpu=0.23))
    assert "waiting" not in said(use(20, cores=1.9, gpu=0.23))
    assert "close to its limit" in said(use(60, memory=3.7 * GIB))
    assert "close to its limit" not in said(use(60))


def test_several_attempts_are_told_one_by_one() -> None:
    words = said(*(use(10) for _ in range(5)))
    assert [number for number in range(1, 6) if f"Attempt {number}:" in words] == [3, 4, 5]
