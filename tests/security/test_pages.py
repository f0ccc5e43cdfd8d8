"""The dashboard under a hostile job's words, and under other sites' forms."""

# ruff: noqa: F811 - parameters named as the fixtures that are imported

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.storage import ObjectStore
from backend.jobs import states
from backend.jobs.models import Attempt, Job, MetricChunk
from frontend.security import safe_next
from tests.frontend.conftest import (  # noqa: F401 - fixtures
    PASSWORD,
    STEPS,
    Member,
    backstage,
    cheap_security,
    make_job,
    make_member,
    services,
    site,
    storage,
    write_log,
)
from tests.frontend.test_pages import parse

pytestmark = pytest.mark.integration
HTML = {"Accept": "text/html"}
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}</textarea>\x1b[31m javascript:alert(1)"


class Seen(HTMLParser):
    """Elements and attributes that would run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.dangerous: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "script" and not (values.get("src") or "").startswith("/static/"):
            self.dangerous.append(f"<{tag} {attrs}>")
        if tag in {"iframe", "object", "embed", "base"} or values.get("src") == "x":
            self.dangerous.append(f"<{tag} {attrs}>")
        for name, value in attrs:
            address = name in {"href", "src", "action", "formaction"}
            if name.startswith("on") or name == "style" or (address and (value or "").startswith("javascript:")):
                self.dangerous.append(f"{tag}.{name}={value}")


@pytest.fixture
def visitor(site: FastAPI) -> Iterator[TestClient]:
    with TestClient(site, headers=HTML, follow_redirects=False) as client:
        yield client


def enter(visitor: TestClient, member: Member) -> None:
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD})
    assert answer.status_code == 303


@pytest.fixture
def hostile(
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
    app_database: Database,
    storage: ObjectStore,
) -> tuple[Member, UUID]:
    """A failed job whose every word is an attack."""
    member = make_member()
    job_id = make_job(member.tenant, "job", states.FAILED)
    with app_database.unit_of_work(member.tenant.scope) as session:
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
        attempt = session.scalars(select(Attempt).where(Attempt.job_id == job_id)).one()
        job.name = attempt.status_reason = job.status_reason = EVIL
        job.progress = {"step": 1, "total_steps": 2, "phase": EVIL}
        job.output = {"model_name": "m", "metrics": {EVIL: EVIL, "nested": {EVIL: [EVIL, {"a": EVIL}]}}, "x": 10**300}
        job.parameters = {EVIL: {"deep": EVIL}}
        job.tags = {EVIL[:100]: EVIL}
        job.failure = {"failure_class": "user_code", "reason": EVIL, "hint": EVIL, "log_tail": [EVIL] * 3}
        job.created_by = f"user:{EVIL}"
        session.add(
            MetricChunk(
                organization_id=member.tenant.organization_id,
                job_id=job_id,
                attempt_id=attempt.id,
                epoch=1,
                seq=9,
                name=EVIL,
                steps=STEPS,
                values=[1e308, -1e308] * (len(STEPS) // 2),
                times=[1e308] * len(STEPS),
            )
        )
        write_log(
            session, storage, member.tenant, attempt, seq=3, lines=[EVIL, "\x1b]0;owned\x07", "<!--", "</div>" * 9]
        )
    return member, job_id


def test_a_jobs_words_stay_words(visitor: TestClient, hostile: tuple[Member, UUID]) -> None:
    member, job_id = hostile
    enter(visitor, member)
    job = f"/training/{job_id}"
    pages = [
        "/training",
        job,
        f"{job}/live",
        f"{job}/logs",
        f"/search?text={'<script>'}",
        f"/training?text={EVIL[:60]}",
    ]
    for page in pages:
        for headers in ({}, {"HX-Request": "true"}):
            answer = visitor.get(page, headers=headers)
            assert answer.status_code in {200, 286}, (page, answer.text[:500])
            assert Seen(answer.text).dangerous == [], page
            policy = answer.headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
    curves = visitor.get(f"{job}/metrics")
    assert curves.status_code == 200
    assert curves.headers["Content-Type"] == "application/json"
    text = visitor.get(f"{job}/log.txt")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert text.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "\\\\evil.example",
        "/%09/evil.example\r\nSet-Cookie: a=b",
        "///evil.example",
        " //evil.example",
        "evil.example",
    ],
)
def test_after_log_in_one_stays_here(visitor: TestClient, make_member: Callable[..., Member], target: str) -> None:
    assert safe_next(target) == "/" or not safe_next(target).startswith(("//", "/\\", "http"))
    member = make_member()
    form = parse(visitor.get("/login", params={"next": target}).text).fields
    answer = visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD, "next": target})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/"


def test_another_site_can_stop_nothing(
    visitor: TestClient,
    make_member: Callable[..., Member],
    make_job: Callable[..., UUID],
) -> None:
    member = make_member()
    job_id = make_job(member.tenant, "job")
    enter(visitor, member)
    token = parse(visitor.get("/training").text).fields["csrf_token"]
    stop = f"/training/{job_id}/stop"
    assert visitor.post(stop).status_code == 403
    assert visitor.post(stop, data={"csrf_token": "x"}).status_code == 403
    assert visitor.post(stop, data={"csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert visitor.post(stop, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 403
    stranger = make_member()
    other = TestClient(visitor.app, headers=HTML, follow_redirects=False)
    enter(other, stranger)
    theirs = parse(other.get("/training").text).fields["csrf_token"]
    assert visitor.post(stop, data={"csrf_token": theirs}).status_code == 403
    assert other.post(stop, data={"csrf_token": theirs}).status_code == 404
    assert visitor.post(stop, data={"csrf_token": token}).status_code == 303


def test_a_session_is_new_at_each_log_in_and_its_cookie_is_closed(
    visitor: TestClient,
    make_member: Callable[..., Member],
) -> None:
    member = make_member()
    visitor.cookies.set("modelyard_session", "mys_fixed-by-somebody-else")
    form = parse(visitor.get("/login").text).fields
    answer = visitor.post("/login", data=form | {"email": member.email, "password": PASSWORD})
    (cookie,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith("modelyard_session=")]
    assert "fixed-by-somebody-else" not in cookie
    flags = cookie.lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "domain" not in flags
