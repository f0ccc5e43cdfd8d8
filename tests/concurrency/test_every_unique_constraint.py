"""Whatever must be unique is raced for by two callers and by eight: the list comes from the tables themselves."""

import pytest
from sqlalchemy import text

from backend.core.db import Database
from backend.tables import METADATA
from tests.concurrency import engine, money, names  # noqa: F401 - they register their cases
from tests.concurrency.cases import CASES, Case
from tests.concurrency.place import Place

pytestmark = pytest.mark.integration


def unique_in_the_database(database: Database) -> set[str]:
    """Unique and exclusion constraints and unique indexes; neither primary keys nor `(organization_id, id)`, which
    only carries foreign keys.
    """
    query = """
        SELECT relation.relname FROM pg_index
        JOIN pg_class relation ON relation.oid = indexrelid
        JOIN pg_namespace space ON space.oid = relation.relnamespace
        WHERE (indisunique OR indisexclusion) AND NOT indisprimary AND space.nspname = 'public'
          AND NOT (indkey::text <> '0' AND pg_get_indexdef(indexrelid) LIKE '%(organization_id, id)')
          AND indrelid::regclass::text = ANY (:tables)
    """
    with database.unit_of_work() as session:
        return set(session.scalars(text(query), {"tables": sorted(METADATA.tables)}))


def test_every_unique_constraint_has_a_case_and_every_case_a_constraint(controller_database: Database) -> None:
    found = unique_in_the_database(controller_database)
    assert found - set(CASES) == set(), "race for these too: see tests/concurrency/cases.py"
    assert set(CASES) - found == set(), "these are gone"


FIRST = {case: name for name, case in sorted(CASES.items(), reverse=True)}
"""Each case once, by the first of its constraints."""


@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize("case", FIRST, ids=FIRST.values())
def test_at_once(case: Case, count: int, place: Place) -> None:
    case(place, count)
