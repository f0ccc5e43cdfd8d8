"""Resources from the command line: made, listed, found by name, as a table and as JSON."""

import hashlib
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backend.billing.service import set_price
from backend.core.db import Database
from backend.core.ids import new_id
from modelyard import Client
from tests.cli.conftest import CONTENT, Command
from tests.datasets.files import archive, digits
from tests.fixtures.engine import SHAPE, Hand

pytestmark = pytest.mark.integration


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "digits.zip"
    path.write_bytes(archive(digits(classes=3, each=10), compression=zipfile.ZIP_STORED))
    return path


@pytest.fixture
def uploaded(command: Command, file: Path) -> Command:
    command.ok("datasets", "create", "images", "--project", "digits")
    command.ok("datasets", "upload", "images", str(file))
    return command


def test_projects(command: Command) -> None:
    made = command.json("projects", "create", "vision", "--description", "cameras", "--tag", "team=blue")
    assert (made["name"], made["description"], made["tags"]) == ("vision", "cameras", {"team": "blue"})
    assert {one["name"] for one in command.json("projects", "list")} == {"vision", "digits"}
    assert made["id"] in command.ok("projects", "show", "vision").stdout
    assert command.json("projects", "show", made["id"]) == made
    command.ok("projects", "delete", "vision")
    assert [one["name"] for one in command.json("projects", "list")] == ["digits"]


def test_a_dataset_from_file_to_version(uploaded: Command) -> None:
    version = uploaded.json("datasets", "freeze", "images", "--split", "train=18", "--split", "test=12", "--seed", "7")
    assert (version["number"], version["splits"], version["split_seed"]) == (
        1,
        {"train": 18, "validation": 0, "test": 12},
        7,
    )
    by_fractions = uploaded.json("datasets", "freeze", "images")
    assert by_fractions["splits"] == {"test": 3, "train": 24, "validation": 3}
    assert [one["number"] for one in uploaded.json("datasets", "versions", "images")] == [2, 1]
    table = uploaded.ok("datasets", "versions", "images").stdout
    assert "train 18" in table
    assert "30" in table


def test_an_upload_goes_on_where_it_was(command: Command, file: Path) -> None:
    dataset = command.json("datasets", "create", "images", "-p", "digits")
    environment = command.environment
    with Client(environment["MODELYARD_API_URL"], environment["MODELYARD_API_KEY"]) as client:
        # A client that puts the first part, then is gone.
        body = {
            "file_name": file.name,
            "size_bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "part_size_bytes": 1024,
        }
        opened = client.transport.post(f"/api/v1/datasets/{dataset['id']}/uploads", body, dict[str, Any])
        client.transport.put_bytes(f"/api/v1/uploads/{opened['id']}/parts/1", file.read_bytes()[:1024])
        done = command.json("datasets", "upload", "images", str(file))
        assert (done["id"], done["status"], done["file_count"]) == (opened["id"], "completed", 30)
        assert done["part_count"] == opened["part_count"] > 1


def test_a_changed_file_is_not_taken_for_the_rest_of_another(command: Command, file: Path) -> None:
    command.ok("datasets", "create", "images", "-p", "digits")
    first = command.json("datasets", "upload", "images", str(file))
    other = file.with_name("other.zip")
    other.write_bytes(archive({f"more-{name}": content for name, content in digits(classes=3, each=10).items()}))
    second = command.json("datasets", "upload", "images", str(other))
    assert first["id"] != second["id"]
    missing = command("datasets", "upload", "images", str(file.with_name("none.zip")))
    assert (missing.status, "cannot be read" in missing.stderr) == (1, True)


def test_what_is_wrong_with_an_archive_is_told(command: Command, file: Path) -> None:
    command.ok("datasets", "create", "images", "-p", "digits")
    file.write_bytes(archive({"1/a.png": b"no image", "2/b.png": b"no image either"}))
    told = command("datasets", "upload", "images", str(file))
    assert told.status == 1
    assert "1/a.png" in told.stderr
    assert "2/b.png" in told.stderr


def test_models_and_their_files(command: Command, register: Callable[..., str], tmp_path: Path) -> None:
    first, second = register(), register()
    (model,) = command.json("models", "list")
    assert (model["name"], model["newest_version"]["id"]) == ("digits", second)
    assert [one["number"] for one in command.json("models", "versions", "digits")] == [2, 1]
    assert command.json("models", "show", "digits:1")["id"] == first
    assert command.json("models", "show", "digits")["id"] == second
    assert "test_accuracy 0.9831" in command.ok("models", "show", "digits:2").stdout
    command.ok("models", "download", "digits:1", "--to", str(tmp_path / "all"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "all").iterdir()} == CONTENT
    command.ok("models", "download", "digits", "model.onnx", "--to", str(tmp_path / "one"))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["model.onnx"]
    absent = command("models", "download", "digits", "weights.bin", "--to", str(tmp_path / "none"))
    assert absent.status == 1
    assert "model.onnx, model.safetensors, signature.json" in absent.stderr


def test_endpoints(
    command: Command, register: Callable[..., str], ready_instance: Callable[..., Hand], tenant: Any
) -> None:
    ready_instance(tenant)
    first, second = register(), register()
    made = command.json(
        *("endpoints", "create", "front", "-p", "digits", "--instance-type", SHAPE),
        *("--variant", "old=digits:1@70", "--variant", f"new={second}@30"),
    )
    variants = {one["name"]: (one["model_version_id"], one["weight"]) for one in made["config"]["variants"]}
    assert variants == {"old": (first, 70), "new": (second, 30)}
    assert "old 70.0%, new 30.0%" in command.ok("endpoints", "list").stdout
    assert "old 20.0%, new 80.0%" in command.ok("endpoints", "weights", "front", "old=20", "new=80").stdout
    refused = command("endpoints", "weights", "front", "old=-1")
    assert refused.status == 1
    assert "a weight is a number from 0" in refused.stderr
    command.ok("endpoints", "delete", "front")
    assert command.json("endpoints", "show", made["id"])["delete_requested_at"] is not None


def test_costs(command: Command, controller_database: Database) -> None:
    summary = command.json("costs", "summary", "--project", "digits")
    assert (summary["total"], summary["by_resource"]) == ("0", [])
    assert "total since" in command.ok("costs", "summary").stdout
    assert command.json("costs", "charges") == []
    sku = f"test:{new_id()}"
    with controller_database.unit_of_work() as session:
        set_price(session, sku, Decimal("0.25"), datetime.now(UTC) - timedelta(seconds=1))
    amounts = {price["sku"]: price["amount"] for price in command.json("costs", "prices")}
    assert amounts[sku] == "0.25"
