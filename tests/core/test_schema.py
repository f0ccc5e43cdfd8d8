"""Which schema a build knows: found without Alembic, and the same as Alembic's."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from backend.core import schema

pytestmark = pytest.mark.unit


def test_the_newest_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.newest_revision()


def test_two_heads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / f"0001_{name}.py").write_text(f'revision = "{name}"\ndown_revision = None\n')
    monkeypatch.setattr(schema, "VERSIONS", tmp_path)
    schema.newest_revision.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="2 heads"):
            schema.newest_revision()
    finally:
        schema.newest_revision.cache_clear()
