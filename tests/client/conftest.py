"""A client of the real API, as a test's tenant."""

from collections.abc import Callable, Iterator

import pytest

from modelyard import Client
from tests.cli.conftest import api_url, register  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant


@pytest.fixture
def client(api_url: str, make_key: Callable[..., str], tenant: Tenant) -> Iterator[Client]:  # noqa: F811 - the fixture
    with Client(api_url, make_key(tenant)) as made:
        yield made
