"""The pages over the platform's own rows, on a real Postgres; and once in a real browser."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import expect
from sqlalchemy import select

from backend.app import create_app
from backend.billing import service as billing
from backend.billing.charging import rate
from backend.core.db import Database
from backend.core.errors import Forbidden, Invalid
from backend.core.ids import new_id
from backend.core.settings import Settings
from backend.core.storage import ObjectStore
from backend.identity.security import Security
from backend.jobs import states
from backend.jobs.models import Attempt, Job
from frontend.app import PagesMount, install
from frontend.pages.jobs import STOP_POLLING
from frontend.services import Services
from frontend.views import JobQuery
from tests.frontend.browser import chromium, log_in, visiting
from tests.frontend.conftest import PASSWORD, STEPS, Member, write_log
from tests.frontend.server import serving
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


def enter(visitor: TestClient, member: Member) -> None:
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD})
    assert answer.status_code == 303


def test_a_member_logs_in_by_password_and_out(visitor: TestClient, member: Member) -> None:
    form = parse(visitor.get("/login").text).fields
    wrong = visitor.post("/login", data=form | {"email": member.email, "password": "wrong"})
    assert wrong.status_code == 422
    enter(visitor, member)
    page = visitor.get("/training")
    assert page.status_code == 200
    assert member.email in page.text
    token = parse(page.text).fields["csrf_token"]
    assert visitor.post("/logout", data={"csrf_token": token}).status_code == 303
    assert visitor.get("/training").status_code == 303


def test_too_many_wrong_passwords_are_said_beside_the_form(visitor: TestClient, member: Member) -> None:
    form = parse(visitor.get("/login").text).fields
    for _ in range(11):
        answer = visitor.post("/login", data=form | {"email": member.email, "password": "wrong"})
        assert answer.status_code == 422
    assert "do not match" not in answer.text
    assert parse(answer.text).fields["email"] == member.email


def test_jobs_of_another_organization_are_not_there(
    visitor: TestClient, member: Member, make_member: Callable[..., Member], make_job: Callable[..., UUID]
) -> None:
    mine = make_job(member.tenant, "job-of-mine")
    theirs = make_job(make_member().tenant, "job-of-theirs")
    enter(visitor, member)
    listed = visitor.get("/training").text
    assert "job-of-mine" in listed
    assert "job-of-theirs" not in listed
    assert visitor.get(f"/training/{mine}").status_code == 200
    for path in ("", "/live", "/metrics", "/logs", "/log.txt"):
        assert visitor.get(f"/training/{theirs}{path}").status_code == 404
    assert visitor.get("/training/not-an-id").status_code == 404


def test_a_job_page_shows_progress_curves_log_and_facts(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID]
) -> None:
    job = make_job(member.tenant, "shown")
    enter(visitor, member)
    text = visitor.get(f"/training/{job}").text
    assert "30%" in text
    assert "epoch 2 of 6" in text
    assert "about 3 min 30 s" in text
    assert "first line" in text
    assert "second &lt;b&gt;line&lt;/b&gt;" in text
    assert "digits" in text
    charts = visitor.get(f"/training/{job}/metrics").json()["charts"]
    assert [point[0] for point in charts[0]["series"][0]["points"]] == STEPS
    version = visitor.get(f"/training/{job}/metrics").json()["version"]
    assert visitor.get(f"/training/{job}/metrics", params={"version": version}).status_code == 204
    assert visitor.get(f"/training/{job}/log.txt").text.count("\n") == 2


def test_the_log_continues_after_its_last_chunk(
    services: Services,
    member: Member,
    make_job: Callable[..., UUID],
    app_database: Database,
    storage: ObjectStore,
) -> None:
    viewer = services.identify(services.log_in(member.email, PASSWORD, "test") or "")
    assert viewer is not None
    job = str(make_job(member.tenant, "talks"))
    first = services.read_logs(viewer, job, after=None)
    assert [line.text for line in first.lines] == ["first line", "second <b>line</b>"]
    assert services.read_logs(viewer, job, after=first.after).lines == []
    with app_database.unit_of_work(member.tenant.scope) as session:
        attempt = session.scalars(select(Attempt).where(Attempt.job_id == UUID(job))).one()
        write_log(session, storage, member.tenant, attempt, seq=3, lines=["third line"])
    more = services.read_logs(viewer, job, after=first.after)
    assert [line.text for line in more.lines] == ["third line"]
    assert not more.more


def test_a_job_shows_what_was_charged_for_it(
    services: Services,
    member: Member,
    make_job: Callable[..., UUID],
    app_database: Database,
    controller_database: Database,
) -> None:
    viewer = services.identify(services.log_in(member.email, PASSWORD, "test") or "")
    assert viewer is not None
    job, sku = make_job(member.tenant, "billed"), f"instance:test-{new_id()}:on-demand"
    now = datetime.now(UTC).replace(microsecond=0)
    start = max(now - timedelta(minutes=2), now.replace(day=1, hour=0, minute=0, second=0))
    with controller_database.unit_of_work() as session:
        billing.set_price(session, sku, Decimal("0.0001"), start)
    with app_database.unit_of_work(member.tenant.scope) as session:
        billing.record_usage(
            session,
            member.tenant.scope,
            project_id=member.tenant.project_id,
            source_kind="attempt",
            source_id=new_id(),
            resource_kind="job",
            resource_id=job,
            resource_name="billed",
            sku=sku,
            quantity=Decimal("421.5"),
            from_at=start,
            to_at=now,
            detail={},
        )
    with controller_database.unit_of_work() as session:
        rate(session, 100, settle_seconds=0.0)
    assert services.get_job(viewer, str(job)).summary.cost == Decimal("0.04215")
    (listed,) = services.list_jobs(viewer, JobQuery(), limit=5).jobs
    assert listed.cost == Decimal("0.04215")
    assert services.shell(viewer).month_to_date == Decimal("0.04215")


def test_pages_of_the_list_follow_each_other(services: Services, member: Member, make_job: Callable[..., UUID]) -> None:
    viewer = services.identify(services.log_in(member.email, PASSWORD, "test") or "")
    assert viewer is not None
    for number in range(5):
        make_job(member.tenant, f"job-{number}", states.COMPLETED if number % 2 else states.QUEUED)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        found = services.list_jobs(viewer, JobQuery(cursor=cursor), limit=2)
        seen += [one.name for one in found.jobs]
        cursor = found.next_cursor
        if cursor is None:
            break
    assert seen == ["job-4", "job-3", "job-2", "job-1", "job-0"]
    narrowed = services.list_jobs(viewer, JobQuery(status=states.COMPLETED, text="job-"), limit=9)
    assert [one.name for one in narrowed.jobs] == ["job-3", "job-1"]
    with pytest.raises(Invalid):
        services.list_jobs(viewer, JobQuery(cursor="made-up"), limit=2)


def test_stop_is_an_intent_that_a_viewer_may_not_have(
    services: Services,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    app_database: Database,
) -> None:
    owner, watcher = make_member("developer"), make_member("viewer")
    allowed = services.identify(services.log_in(owner.email, PASSWORD, "test") or "")
    refused = services.identify(services.log_in(watcher.email, PASSWORD, "test") or "")
    assert allowed is not None
    assert refused is not None
    job, other = make_job(owner.tenant, "mine"), make_job(watcher.tenant, "watched")
    services.stop_job(allowed, str(job))
    with app_database.unit_of_work(owner.tenant.scope) as session:
        assert session.get_one(Job, job).stop_requested_at is not None
    assert services.get_job(allowed, str(job)).summary.stopping
    with pytest.raises(Forbidden):
        services.stop_job(refused, str(other))
    with app_database.unit_of_work(watcher.tenant.scope) as session:
        assert session.get_one(Job, other).stop_requested_at is None


def test_a_final_job_is_not_asked_about_again(
    visitor: TestClient, member: Member, make_job: Callable[..., UUID]
) -> None:
    job = make_job(member.tenant, "done", states.COMPLETED)
    enter(visitor, member)
    assert visitor.get(f"/training/{job}/live", headers={"HX-Request": "true"}).status_code == STOP_POLLING
    assert visitor.get(f"/training/{job}/metrics").json()["final"] is True


def test_machines_paths_keep_their_own_errors(site: FastAPI, visitor: TestClient) -> None:
    @site.get("/api/v1/thing")
    def read_thing() -> str:
        return "thing"

    # what is included after the mount is found too: the mount leaves machines' paths alone
    assert visitor.get("/api/v1/thing").json() == "thing"
    assert visitor.post("/api/v1/thing").status_code == 405
    assert visitor.get("/api/v1/nothing").headers["content-type"] == "application/json"
    assert "text/html" in visitor.get("/nothing").headers["content-type"]


@pytest.fixture
def own_api(api_settings: Settings, cheap_security: Security) -> Iterator[FastAPI]:
    """An API of this test's own, without a dashboard."""
    made = create_app(api_settings)
    made.router.routes[:] = [route for route in made.router.routes if not isinstance(route, PagesMount)]
    made.state.security = cheap_security
    yield made
    made.state.database.dispose()


def test_installed_on_the_api_both_take_the_same_session(own_api: FastAPI, member: Member) -> None:
    install(own_api)
    visitor = TestClient(own_api, headers=HTML, follow_redirects=False)
    enter(visitor, member)
    assert member.email in visitor.get("/training").text
    assert [one["name"] for one in visitor.get("/api/v1/projects").json()["items"]] == ["digits"]


def test_without_the_bundle_pages_say_how_to_build_it(own_api: FastAPI, tmp_path: Path) -> None:
    install(own_api, static=tmp_path)
    visitor = TestClient(own_api, headers=HTML)
    page = visitor.get("/training")
    assert (page.status_code, "npm" in page.text) == (503, True)
    assert visitor.get("/api/v1/projects").status_code == 401


@pytest.mark.browser
def test_in_a_browser_a_member_logs_in_and_watches_a_job(
    site: FastAPI, member: Member, make_job: Callable[..., UUID]
) -> None:
    make_job(member.tenant, "watched-job")
    with serving(site) as address, chromium() as browser, visiting(browser, address) as (page, complaints):
        log_in(page, member.email, PASSWORD)
        page.get_by_role("link", name="watched-job").click()
        expect(page.locator("#going")).to_contain_text("Running")
        expect(page.locator(".chart:not(.is-empty) canvas")).to_have_count(2)
        expect(page.locator(".log-line")).to_have_count(2)
        page.get_by_role("button", name="Stop", exact=True).click()
        page.get_by_role("button", name="Stop the job").click()
        expect(page.locator("#toasts")).to_contain_text("Asked watched-job to stop")
        expect(page.locator("#going")).to_contain_text("Stopping")
        assert complaints == []
