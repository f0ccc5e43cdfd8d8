"""The built site, for every test that reads or visits it."""

from pathlib import Path

import pytest

from tests.docs.site import build_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    return build_site(tmp_path_factory.mktemp("site"))
