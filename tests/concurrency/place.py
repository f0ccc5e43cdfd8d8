"""Where things happen at once: real connections in threads that all start together."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID

import httpx2
from fastapi import FastAPI
from sqlalchemy import ColumnElement, func, select
from starlette.testclient import TestClient

from backend.core.db import Database
from tests.endpoints.conftest import World
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from worker.context import ControlContext

Result = TypeVar("Result")
Answer = httpx2.Response
PATIENCE_SECONDS = 30


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """What each call returned, in their order; every one has its own thread, and none starts before all are there."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        barrier.wait(PATIENCE_SECONDS)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [running.result(PATIENCE_SECONDS) for running in [pool.submit(run, call) for call in calls]]


def one_wins(answers: Sequence[Answer], won: int, code: str, *, lost: int = 409) -> Answer:
    """Exactly one of the answers has status `won`; every other is the documented refusal. Returns the winner's."""
    winners = [answer for answer in answers if answer.status_code == won]
    said = [(answer.status_code, answer.json().get("code")) for answer in answers if answer not in winners]
    assert said == [(lost, code)] * (len(answers) - 1), [answer.text for answer in answers]
    return winners[0]


@dataclass(frozen=True)
class Place:
    """One tenant, and all that may act on it."""

    app: FastAPI
    app_database: Database
    controller_database: Database
    context: ControlContext
    tenant: Tenant
    make_tenant: Callable[[], Tenant]
    make_client: Callable[..., TestClient]
    submit: Callable[..., dict[str, Any]]
    ready_instance: Callable[..., Hand]
    run_jobs: Callable[..., None]
    world: World

    def clients(self, count: int, role: str = "owner") -> list[TestClient]:
        """So many clients of the tenant, each with a key of its own."""
        return [self.make_client(self.tenant, role) for _ in range(count)]

    def all_send(self, count: int, method: str, path: str, bodies: Any = None, **other: Any) -> list[Answer]:
        """The same request from so many clients at once; `bodies`: one for all, or a list of one each."""

        def call(client: TestClient, body: Any) -> Callable[[], Answer]:
            return lambda: client.request(method, f"/api/v1{path}", json=body, **other)

        each = bodies if isinstance(bodies, list) else [bodies] * count
        return at_once([call(client, body) for client, body in zip(self.clients(count), each, strict=True)])

    def count(self, model: Any, *where: ColumnElement[bool]) -> int:
        """Rows of a table that are the tenant's."""
        with self.controller_database.unit_of_work() as session:
            mine = select(func.count()).select_from(model).where(model.organization_id == self.tenant.organization_id)
            return session.scalar(mine.where(*where)) or 0

    def new_dataset(self, name: str = "digits") -> str:
        """A dataset; its id."""
        body = {"project_id": str(self.tenant.project_id), "name": name, "kind": "image"}
        answer = self.make_client(self.tenant).post("/api/v1/datasets", json=body)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    def new_endpoint(self, variants: int = 2, name: str = "digits") -> str:
        """An endpoint with so many variants v0, v1, … of weight 1; its id."""
        wanted = [
            {"name": f"v{number}", "model_version_id": str(self.world.make_version()), "weight": 1}
            for number in range(variants)
        ]
        body = self.world.body(name=name, variants=wanted)
        answer = self.make_client(self.tenant).post("/api/v1/endpoints", json=body)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    def running_job(self, **fields: Any) -> tuple[UUID, Hand]:
        """A job whose attempt has been placed on an instance, and that instance's hand."""
        hand = self.ready_instance(self.tenant)
        job = self.submit(self.tenant, **fields)
        self.run_jobs(self.tenant)
        return UUID(job["id"]), hand
