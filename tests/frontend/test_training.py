"""The training room over the platform's own rows: list, compare, stop together, a job's page, its log."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend.billing import service as billing
from backend.billing.charging import rate
from backend.core.db import Database
from backend.core.ids import new_id
from backend.core.storage import ObjectStore
from backend.jobs import states
from backend.jobs.models import Attempt, Checkpoint, Job
from tests.frontend.conftest import Member, write_log
from tests.frontend.test_pages import parse
from tests.frontend.training_room import (  # noqa: F401 - fixtures
    SHAPE,
    enter,
    freeze,
    known_kinds,
    member,
    ran,
    version,
    visitor,
)

# ruff: noqa: F811 - parameters named as the fixtures that are imported

pytestmark = pytest.mark.integration


def test_a_viewer_sees_jobs_and_starts_and_stops_none(
    visitor: TestClient, make_member: Callable[..., Member], make_job: Callable[..., UUID]
) -> None:
    watcher = make_member("viewer")
    job = make_job(watcher.tenant, "watched")
    token = enter(visitor, watcher)
    assert "Start a training" not in visitor.get("/training").text
    assert "Run again" not in visitor.get(f"/training/{job}").text
    assert visitor.get("/training/new").status_code == 403
    for path in ("/training/new", "/training/new/estimate", "/training/stop", f"/training/{job}/again"):
        assert visitor.post(path, data={"job": str(job), "name": "x"} | token).status_code == 403


def test_another_organizations_jobs_are_not_there(
    visitor: TestClient, member: Member, make_member: Callable[..., Member], make_job: Callable[..., UUID]
) -> None:
    theirs, mine = make_job(make_member().tenant, "theirs"), make_job(member.tenant, "mine")
    token = enter(visitor, member)
    for path in (
        f"/training/new?from={theirs}",
        f"/training/compare?job={mine}&job={theirs}",
        f"/training/compare/metrics?job={theirs}",
        f"/training/{theirs}/log-search?text=line",
        f"/training/{theirs}/log-search",
    ):
        assert visitor.get(path).status_code == 404, path
    assert visitor.post(f"/training/{theirs}/again", data={"name": "x"} | token).status_code == 404
    assert visitor.post("/training/stop", data={"job": str(theirs)} | token).status_code == 404
    assert visitor.post("/training/stop", data={"job": "x"} | token).status_code == 404


def test_jobs_stand_side_by_side_with_their_curves(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID], app_database: Database
) -> None:
    one, two = make_job(member.tenant, "one"), make_job(member.tenant, "two", states.COMPLETED)
    with app_database.unit_of_work(member.tenant.scope) as session:
        session.get_one(Job, two).parameters = {"seconds": 45}
    enter(visitor, member)
    text = visitor.get(f"/training/compare?job={one}&job={two}&job={one}").text
    assert parse(text).refused == []
    row = text[text.index('<tr class="differs">') :]
    assert "differs" in row
    assert "seconds" in row
    assert "45" in row[: row.index("</tr>", 400)]
    found = visitor.get(f"/training/compare/metrics?job={one}&job={two}").json()
    assert [chart["key"] for chart in found["charts"]] == ["loss", "accuracy"]
    assert [(line["label"], line["run"]) for line in found["charts"][0]["series"]] == [
        ("one train", 0),
        ("two train", 1),
    ]
    assert found["final"] is False
    known = {"version": found["version"]}
    assert (
        visitor.get(
            f"/training/compare/metrics?job={one}&job={two}", params=known | {"job": [str(one), str(two)]}
        ).status_code
        == 204
    )
    assert "Choose two jobs or more" in visitor.get(f"/training/compare?job={one}").text
    many = "&".join(f"job={new_id()}" for _ in range(9))
    assert "At most 8 jobs" in visitor.get(f"/training/compare?{many}").text


def test_chosen_jobs_are_asked_to_stop_together(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID], app_database: Database
) -> None:
    running = [make_job(member.tenant, f"running-{n}") for n in range(2)]
    ended = make_job(member.tenant, "ended", states.COMPLETED)
    token = enter(visitor, member)
    assert "No row was chosen." in visitor.post("/training/stop", data=token).text
    chosen = {"job": [str(one) for one in (*running, ended)]}
    answer = visitor.post("/training/stop", data=chosen | token)
    assert "2 of 3 done" in answer.text
    assert "Job &#39;ended&#39; is completed since" in answer.text
    with app_database.unit_of_work(member.tenant.scope) as session:
        assert all(session.get_one(Job, one).stop_requested_at is not None for one in running)
        assert session.get_one(Job, ended).stop_requested_at is None


def test_the_list_is_sorted_by_name_both_ways_and_pages_on(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID]
) -> None:
    for name in ("b-job", "c-job", "a-job"):
        make_job(member.tenant, name, states.COMPLETED)
    enter(visitor, member)

    def names(query: str) -> list[str]:
        text = visitor.get(f"/training?{query}").text
        return sorted(("a-job", "b-job", "c-job"), key=lambda name: text.index(f">{name}<"))

    assert names("sort=name") == ["a-job", "b-job", "c-job"]
    assert names("sort=-name") == ["c-job", "b-job", "a-job"]
    assert names("sort=created_at") == ["b-job", "c-job", "a-job"]
    assert names("sort=anything") == names("")


def test_the_whole_log_is_searched_on_the_server(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID], app_database: Database, storage: ObjectStore
) -> None:
    job = make_job(member.tenant, "talks")
    with app_database.unit_of_work(member.tenant.scope) as session:
        attempt = session.scalars(select(Attempt).where(Attempt.job_id == job)).one()
        for seq in range(3, 70):
            write_log(
                session, storage, member.tenant, attempt, seq=seq, lines=[f"epoch {seq} Needle{seq % 2}", "hay"] * 5
            )
    enter(visitor, member)
    page = visitor.get(f"/training/{job}").text
    assert page.count('class="log-line"') == 400
    assert "Earlier lines are left out" in page
    first = visitor.get(f"/training/{job}/log-search", params={"text": "needle1"}).text
    assert first.count('class="log-line"') == 170
    assert "The whole log was searched." in first
    many = visitor.get(f"/training/{job}/log-search", params={"text": "a"}).text
    assert many.count('class="log-line"') >= 200
    further = many.partition('hx-get="')[2].partition('"')[0]
    rest = visitor.get(unescape(further)).text
    assert many.count('class="log-line"') + rest.count('class="log-line"') == 67 * 5 * 1
    none = visitor.get(f"/training/{job}/log-search", params={"text": "<b>nothing"}).text
    assert "No line of the log contains “&lt;b&gt;nothing”" in none
    assert visitor.get(f"/training/{job}/log-search", params={"text": " "}).text == ""


def test_a_job_page_shows_time_checkpoints_charges_and_what_belongs_to_it(
    visitor: TestClient,
    member: Member,
    version: UUID,
    make_job: Callable[..., UUID],
    app_database: Database,
    controller_database: Database,
) -> None:
    job, sku = make_job(member.tenant, "shown"), f"instance:{SHAPE}-{new_id()}:on-demand"
    own = {"organization_id": member.tenant.organization_id}
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=50)
    with controller_database.unit_of_work() as session:
        billing.set_price(session, sku, Decimal("0.001"), start - timedelta(days=1))
    with controller_database.unit_of_work() as session:
        rate(session, 100_000, settle_seconds=0.0)  # what other tests left: below, the first record is this job's
    with app_database.unit_of_work(member.tenant.scope) as session:
        row = session.get_one(Job, job)
        row.inputs = {"training": {"kind": "dataset", "id": str(version)}}
        attempt = session.scalars(select(Attempt).where(Attempt.job_id == job)).one()
        session.add(Checkpoint(job_id=job, attempt_id=attempt.id, step=4711, files=[{"size_bytes": 2048}] * 2, **own))
        for turn in range(2):
            billing.record_usage(
                session, member.tenant.scope, project_id=member.tenant.project_id, source_kind="attempt",
                source_id=attempt.id, resource_kind="job", resource_id=job, resource_name="shown", sku=sku,
                quantity=Decimal(20), from_at=start + timedelta(seconds=20 * turn),
                to_at=start + timedelta(seconds=20 * (turn + 1)), detail={},
            )  # fmt: skip
    with controller_database.unit_of_work() as session:
        rate(session, 1, settle_seconds=0.0)
    enter(visitor, member)
    text = visitor.get(f"/training/{job}").text
    assert "digits v1" in text
    assert "4711" in text
    assert "4.0 KiB" in text
    assert "USD 0.020000000000" in text
    assert "20 s metered and not charged yet." in text
    assert "Attempt 1 · Running" in text
    assert visitor.get(f"/training/{job}/live", headers={"HX-Request": "true"}).text.count("hx-swap-oob") == 4


def test_the_room_speaks_chinese(
    visitor: TestClient, member: Member, version: UUID, make_job: Callable[..., UUID]
) -> None:
    one, two = make_job(member.tenant, "one"), make_job(member.tenant, "two", states.COMPLETED)
    token = enter(visitor, member)
    visitor.headers["Accept-Language"] = "zh-CN"
    for path, words in {
        "/training": "开始训练",
        "/training/new": "digits v1 · 40 个文件",
        f"/training/{one}": "第 1 次尝试 · 运行中",
        f"/training/compare?job={one}&job={two}": "只看不同之处",
        f"/training/{one}/log-search?text=first": "已搜索整个日志。",
    }.items():
        answer = visitor.get(path)
        assert (answer.status_code, words in answer.text) == (200, True), path
    typed = {"project_id": str(member.tenant.project_id), "dataset_version_id": str(version), "instance_type": SHAPE}
    estimate = visitor.post("/training/new/estimate", data=typed | token).text
    assert "还没有类似的作业" in estimate
    assert "curl" in estimate
