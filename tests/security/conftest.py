"""Estates: organizations with one of everything, for the folder's tests."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.endpoints.conftest import World, control_context, make_gateway, make_world  # noqa: F401 - fixtures
from tests.fixtures.database import Tenant
from tests.fixtures.engine import Hand
from tests.identity.conftest import Person, make_person  # noqa: F401 - fixtures
from tests.security.estate import Estate, build_estate


@pytest.fixture
def make_estate(
    make_tenant: Callable[[], Tenant],
    make_client: Callable[..., TestClient],
    make_world: Callable[[Tenant], World],  # noqa: F811 - a fixture
    make_person: Callable[..., Person],  # noqa: F811 - a fixture
    ready_instance: Callable[..., Hand],
) -> Callable[[], Estate]:
    """Make an organization with one of everything."""

    def make() -> Estate:
        tenant = make_tenant()
        make_person(tenant)
        member = make_person(tenant, role="viewer")
        hand = ready_instance(tenant)
        return build_estate(make_client(tenant), make_world(tenant), member.user_id, hand.instance_id)

    return make


@pytest.fixture
def estate(make_estate: Callable[[], Estate]) -> Estate:
    """One of them."""
    return make_estate()
