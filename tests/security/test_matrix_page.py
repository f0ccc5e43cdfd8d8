"""The isolation matrix in the documentation is the one in force."""

import pytest
from fastapi import FastAPI

from backend.core.db import Database
from docs.generators import isolation
from tests.security.tables import read_tables

pytestmark = pytest.mark.integration


def test_the_page_is_current(app: FastAPI, controller_database: Database) -> None:
    with controller_database.unit_of_work() as session:
        tables = read_tables(session)
    assert isolation.PAGE.read_text() == isolation.render(app, tables), "run `python -m docs.generators.isolation`"
