"""The state machines at play: short games that are always the same, and long ones that never are."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis.stateful import RuleBasedStateMachine
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.jobs import states
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.properties.jobs import JobMachine, World
from tests.properties.leases import LeaseMachine
from tests.properties.money import MoneyMachine
from tests.properties.playing import play
from tests.properties.uploads import UploadMachine
from worker.context import ControlContext

pytestmark = pytest.mark.integration
Machine = type[RuleBasedStateMachine]


@pytest.fixture
def jobs(
    context: ControlContext,
    make_tenant: Callable[[], Tenant],
    submit: Callable[..., dict[str, Any]],
    ready_instance: Callable[..., Hand],
    make_client: Callable[..., TestClient],
) -> Machine:
    world_given = World(context, make_tenant, submit, ready_instance, make_client)

    class Jobs(JobMachine):
        world = world_given

    return Jobs


@pytest.fixture
def leases(
    controller_database: Database, make_tenant: Callable[[], Tenant], ready_instance: Callable[..., Hand]
) -> Machine:
    ready_instance(make_tenant())  # and with it the instance type

    class Leases(LeaseMachine):
        database = controller_database

        def __init__(self) -> None:
            self.make_tenant = make_tenant
            super().__init__()

    return Leases


@pytest.fixture
def uploads(
    app: FastAPI,
    controller_database: Database,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
) -> Machine:
    class Uploads(UploadMachine):
        database = controller_database
        storage = app.state.storage

        def __init__(self) -> None:
            self.make_tenant, self.make_client = make_tenant, make_client
            super().__init__()

    return Uploads


@pytest.fixture
def money(
    app_database: Database,
    controller_database: Database,
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
) -> Machine:
    class Money(MoneyMachine):
        app = app_database
        controller = controller_database

        def __init__(self) -> None:
            self.make_tenant, self.make_client = make_tenant, make_client
            super().__init__()

    return Money


GAMES = {"jobs": (8, 18), "leases": (8, 20), "uploads": (8, 18), "money": (8, 25)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GAMES)
def test_a_few_games(name: str, request: pytest.FixtureRequest) -> None:
    games, moves = GAMES[name]
    play(request.getfixturevalue(name), games=games, moves=moves)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GAMES)
def test_many_games(name: str, request: pytest.FixtureRequest) -> None:
    games, moves = GAMES[name]
    play(request.getfixturevalue(name), games=4 * games, moves=3 * moves // 2, always_the_same=False)


def test_every_move_in_the_code_is_legal_and_every_state_is_reachable() -> None:
    for table in (states.JOB, states.ATTEMPT):
        assert set().union(*table.values()) <= set(table), "no move leads to an unknown status"
        reached, wave = set(), {next(iter(table))}
        while wave:
            reached |= wave
            wave = set().union(*(table[status] for status in wave)) - reached
        assert reached == set(table)
    assert {status for status, onward in states.JOB.items() if not onward} == states.FINAL
