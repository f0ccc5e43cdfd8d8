"""Fixtures every test may use, and how tests share the processes of a parallel run."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = (
    "tests.fixtures.embedded",
    "tests.fixtures.database",
    "tests.fixtures.api",
    "tests.fixtures.engine",
    "tests.fixtures.platform",
    "tests.fixtures.digits",
)

ON_PLATFORM = ("tests/e2e/", "tests/chaos/")
"""Folders whose tests share one running platform."""
ONE_READER = "tests/docs/test_blocks.py"
"""The pages of the documentation, each of which uses what the ones before it made."""


class OnePlatform(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Tests on the running platform go to one process, one by one, as do the documentation's pages.

    Any other test goes wherever there is room.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ON_PLATFORM):
            return "platform"
        return "pages" if nodeid.startswith(ONE_READER) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OnePlatform | None:
    """For `--dist loadgroup`. xdist's own groups rest on a field that this pytest no longer reads."""
    return OnePlatform(config, log) if config.getvalue("dist") == "loadgroup" else None
