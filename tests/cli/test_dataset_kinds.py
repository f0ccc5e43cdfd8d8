"""Tables from the command line: made, filled, looked at; imports started and ended."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.datasets.tables import csv_of

pytestmark = pytest.mark.integration


def test_a_table_is_made_filled_and_looked_at(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "wine.csv"
    file.write_bytes(csv_of("wine"))
    command.ok("projects", "create", "cellar")
    made = command.json(
        "datasets",
        "create",
        "wines",
        "-p",
        "cellar",
        "--kind",
        "tabular",
        "--target",
        "target",
        "--column",
        "ash=number",
    )
    assert (made["target_column"], made["column_types"]) == ("target", {"ash": "number"})
    assert command.json("datasets", "upload", "wines", str(file))["status_reason"] == "178 rows"
    assert "13.0006" in command.ok("datasets", "preview", "wines").stdout
    assert command.json("datasets", "freeze", "wines")["example_count"] == 178
    seen = command.json("datasets", "preview", "wines", "--version", "1")
    assert (seen["kind"], seen["examples"]) == ("tabular", 178)


def test_an_import_is_started_listed_and_ended(command: Command) -> None:
    command.ok("projects", "create", "mails")
    command.ok("datasets", "create", "inbox", "-p", "mails", "--kind", "text")
    refused = command("datasets", "import", "inbox", "https://127.0.0.1/mails.jsonl")
    assert refused.status != 0
    assert "no public address" in refused.stderr
    row = command.json("datasets", "import", "inbox", "https://files.invalid/mails.jsonl", "--no-wait")
    assert row["status"] == "queued"
    assert [one["id"] for one in command.json("datasets", "imports", "inbox")] == [row["id"]]
    assert command.json("datasets", "cancel-import", row["id"])["status_reason"] == "being cancelled"
