"""Fixtures every test may use."""

pytest_plugins = (
    "tests.fixtures.embedded",
    "tests.fixtures.database",
    "tests.fixtures.api",
    "tests.fixtures.engine",
    "tests.fixtures.platform",
    "tests.fixtures.digits",
)
