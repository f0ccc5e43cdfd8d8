"""The application as a whole: start, health, metrics, documents, headers."""

import errno
import time
from datetime import datetime, timedelta
from typing import NoReturn

import psycopg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from backend.app import create_app
from backend.core.db import Database
from backend.core.schema import SchemaUnknown
from backend.core.settings import Settings
from backend.fleet.models import ApiUptime
from backend.identity.authentication import Authenticator
from backend.uptime import Pulse, beat
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


def test_health_says_alive_and_ready(app: FastAPI) -> None:
    client = TestClient(app)
    assert client.get("/health/live").json() == {"status": "ok"}
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")


def test_without_a_database_it_is_alive_not_ready_and_answers_503(api_settings: Settings) -> None:
    nowhere = SecretStr("postgresql+psycopg://modelyard_app:x@127.0.0.1:1/modelyard")
    settings = api_settings.model_copy(
        update={"database": api_settings.database.model_copy(update={"app_url": nowhere})}
    )
    client = TestClient(create_app(settings), raise_server_exceptions=False)
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").json()["code"] == "unavailable"
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = client.post("/api/v1/projects", json={"name": "a"}, headers={"Authorization": "Bearer my_x"} | headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]


def test_an_unknown_schema_is_refused_at_start(api_settings: Settings, database_settings: Settings) -> None:
    admin = database_settings.database.admin_url
    assert admin is not None
    settings = api_settings.model_copy(update={"database": api_settings.database.model_copy(update={"app_url": admin})})
    with pytest.raises(SchemaUnknown, match="run `modelyard migrate`"), TestClient(create_app(settings)):
        pass


@pytest.mark.parametrize(("group", "field"), [("database", "app_url"), ("security", "master_key")])
def test_a_missing_setting_is_named(api_settings: Settings, group: str, field: str) -> None:
    emptied = getattr(api_settings, group).model_copy(update={field: None})
    with pytest.raises(RuntimeError, match=f"MODELYARD_{group.upper()}__{field.upper()}"):
        create_app(api_settings.model_copy(update={group: emptied}))


def test_a_running_api_beats(api_settings: Settings, controller_database: Database) -> None:
    with TestClient(create_app(api_settings)) as client:
        assert client.get("/health/ready").status_code == 200
        with controller_database.unit_of_work() as session:
            row = session.scalars(select(ApiUptime)).one()
            age = session.scalar(select(func.clock_timestamp() - row.beat_at))
    assert age is not None
    assert age < timedelta(seconds=10)


def read(database: Database) -> tuple[datetime, datetime]:
    with database.unit_of_work() as session:
        row = session.scalars(select(ApiUptime)).one()
        return row.up_since, row.beat_at


def test_a_beat_after_a_gap_starts_the_time_anew(app_database: Database, controller_database: Database) -> None:
    with app_database.unit_of_work() as session:
        beat(session)
    since, first = read(controller_database)
    pulse = Pulse(app_database, seconds=0.02)
    pulse.start()
    time.sleep(0.1)
    pulse.stop()
    again, last = read(controller_database)
    assert again == since
    assert last > first
    for gap, kept in ((9, True), (11, False)):
        with controller_database.unit_of_work() as session:
            before = func.clock_timestamp() - timedelta(seconds=gap)
            session.execute(update(ApiUptime).values(up_since=before - timedelta(hours=1), beat_at=before))
        old, _ = read(controller_database)
        with app_database.unit_of_work() as session:
            beat(session)
        assert (read(controller_database)[0] == old) is kept


def test_metrics_name_routes_not_paths(app: FastAPI, client: TestClient, tenant: Tenant) -> None:
    client.get(f"/api/v1/projects/{tenant.project_id}")
    client.get("/nowhere/at/all")
    text = TestClient(app).get("/metrics").text
    assert 'route="/api/v1/projects/{project_id}"' in text
    assert "modelyard_http_request_seconds_bucket" in text
    assert str(tenant.project_id) not in text
    assert "nowhere" not in text


def test_the_document_describes_every_route_and_the_page_shows_it(app: FastAPI) -> None:
    client = TestClient(app)
    document = client.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"/api/v1/projects", "/api/v1/api-keys", "/api/v1/me", "/api/v1/session"} <= document["paths"].keys()
    page = client.get("/api/v1/docs")
    assert "/api/v1/projects/{project_id}" in page.text
    assert "<script" not in page.text
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"]


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/api/v1/me", "/api/v1/nothing", "/health/live"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_no_other_site_may_ask(client: TestClient) -> None:
    preflight = client.options(
        "/api/v1/projects",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")),
    ],
    ids=["this host's", "Postgres's"],
)
def test_a_full_disk_is_told_as_what_it_is(api_settings: Settings, error: Exception) -> None:
    app = create_app(api_settings)

    class Exploding(Authenticator):
        def __call__(self, *_: object) -> NoReturn:
            raise error

    app.state.authenticate = Exploding(app.state.database)
    client = TestClient(app, raise_server_exceptions=False)
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = client.post("/api/v1/projects", json={"name": "a"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (507, "no_space")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "5"
    app.state.database.dispose()


def test_an_unexpected_error_is_a_problem_that_says_nothing(api_settings: Settings) -> None:
    app = create_app(api_settings)

    class Exploding(Authenticator):
        def __call__(self, *_: object) -> NoReturn:
            raise ZeroDivisionError("secret")

    app.state.authenticate = Exploding(app.state.database)
    client = TestClient(app, raise_server_exceptions=False)
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = client.post("/api/v1/projects", json={"name": "a"}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
    app.state.database.dispose()
