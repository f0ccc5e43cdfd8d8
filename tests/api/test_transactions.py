"""One request, one transaction: what it costs, and what happens when connections run out or are closed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text, update
from starlette.testclient import TestClient

from backend.app import create_app
from backend.core.db import Database
from backend.core.settings import Settings
from backend.identity.models import ApiKey
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


@contextmanager
def counted(app: FastAPI) -> Iterator[dict[str, int]]:
    """What the application does with its connections meanwhile."""
    engine = app.state.database.engine
    found = {"before_cursor_execute": 0, "commit": 0, "rollback": 0, "checkout": 0}
    listeners = {name: lambda *_, name=name: found.update({name: found[name] + 1}) for name in found}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    yield found
    for name, listener in listeners.items():
        event.remove(engine, name, listener)


def test_a_request_is_one_transaction_and_one_statement_more_than_its_own(app: FastAPI, client: TestClient) -> None:
    assert client.get("/api/v1/jobs").status_code == 200
    with counted(app) as found:
        assert client.get("/api/v1/jobs").status_code == 200
    assert found == {"before_cursor_execute": 2, "commit": 1, "rollback": 0, "checkout": 1}


def test_a_use_is_noted_once_a_minute_even_of_a_request_that_fails(
    tenant: Tenant, make_client: Callable[..., TestClient], controller_database: Database
) -> None:
    client = make_client(tenant)

    def last_use() -> datetime | None:
        with controller_database.unit_of_work() as session:
            found: datetime | None = session.scalar(
                text("SELECT last_used_at FROM api_keys WHERE organization_id = :o"), {"o": tenant.organization_id}
            )
            return found

    assert last_use() is None
    assert client.get("/api/v1/jobs/00000000-0000-0000-0000-000000000000").status_code == 404
    first = last_use()
    assert first is not None
    assert client.get("/api/v1/jobs").status_code == 200
    assert last_use() == first
    with controller_database.unit_of_work() as session:
        session.execute(
            update(ApiKey)
            .where(ApiKey.organization_id == tenant.organization_id)
            .values(last_used_at=text("clock_timestamp() - interval '61 seconds'"))
        )
    # A route without a transaction of its own notes it as well.
    assert client.get("/api/v1/jobs/00000000-0000-0000-0000-000000000000/logs").status_code == 404
    noted = last_use()
    assert noted is not None
    assert noted > first


def test_a_key_revoked_elsewhere_opens_nothing_from_then_on(
    tenant: Tenant, make_client: Callable[..., TestClient], controller_database: Database
) -> None:
    client = make_client(tenant)
    assert client.get("/api/v1/jobs").status_code == 200
    with controller_database.unit_of_work() as session:
        session.execute(
            update(ApiKey)
            .where(ApiKey.organization_id == tenant.organization_id)
            .values(revoked_at=text("clock_timestamp()"))
        )
    assert client.get("/api/v1/jobs").status_code == 401


def test_connections_that_the_server_closed_are_replaced(
    app: FastAPI, client: TestClient, database_settings: Settings
) -> None:
    assert client.get("/api/v1/jobs").status_code == 200
    url = database_settings.database.admin_url
    assert url is not None
    import psycopg

    plain = url.get_secret_value().replace("+psycopg", "").replace("/postgres?", "/modelyard?")
    with psycopg.connect(plain, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE application_name = 'modelyard-api' AND usename = 'modelyard_app'"
        ).fetchone()
    assert ended is not None
    assert ended[0] >= 1
    assert client.get("/api/v1/jobs").status_code == 200
    assert app.state.database.engine.pool.checkedout() == 0


def test_more_requests_than_connections_and_threads_are_all_answered(
    api_settings: Settings, tenant: Tenant, make_key: Callable[..., str]
) -> None:
    """A thread that waited for a connection could keep the one who holds it from going on."""
    database = api_settings.database.model_copy(update={"pool_size": 2})
    app = create_app(api_settings.model_copy(update={"database": database}))
    headers = {"Authorization": f"Bearer {make_key(tenant)}"}

    async def ask() -> list[int]:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            answers = await asyncio.gather(*(client.get("/api/v1/jobs") for _ in range(100)))
        return [answer.status_code for answer in answers]

    try:
        assert asyncio.run(asyncio.wait_for(ask(), 25)) == [200] * 100
    finally:
        app.state.database.dispose()
