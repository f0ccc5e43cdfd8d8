"""Imports over the REST API and as the control worker does them, from a real HTTP server."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.datasets import fetching, importing
from backend.datasets.kinds import READERS
from backend.datasets.models import DatasetImport
from backend.datasets.service import remove_orphans_of_imports
from backend.identity.models import OrganizationKey
from tests.datasets.files import archive, digits, png
from tests.datasets.http_source import Source, serving
from tests.datasets.importer import Importer
from tests.datasets.tables import csv_of
from tests.fixtures.database import Tenant
from worker.context import ControlContext
from worker.tasks import imports as tasks

pytestmark = pytest.mark.integration
LEFT = {"upload_parts": 0, "dataset_files": 0, "blobs": 0, "objects": 0}


@pytest.fixture
def source() -> Iterator[Source]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PART_BYTES", 1024)
    monkeypatch.setattr(fetching, "READ_BYTES", 500)


@pytest.fixture
def importer(client: TestClient, dataset: dict[str, Any], context: ControlContext) -> Importer:
    return Importer(client, dataset["id"], context)


def parts(importer: Importer) -> int:
    return len(importer.context.storage.keys("imports/"))


def test_an_archive_is_fetched_and_becomes_files(importer: Importer, source: Source, client: TestClient) -> None:
    source.content["digits.zip"] = data = archive(digits())
    row = importer.start(source.url("digits.zip?token=secret"))
    assert (row["status"], row["source"], row["file_name"]) == ("queued", source.url("digits.zip"), "digits.zip")
    done = importer.work(row)
    assert (done["status"], done["file_count"], done["status_reason"]) == ("completed", 30, "30 files"), done
    assert (done["received_bytes"], done["size_bytes"]) == (len(data), len(data))
    assert source.asked == [("/digits.zip?token=secret", None)]
    assert client.get(f"/api/v1/datasets/{importer.dataset_id}").json()["labels"] == {"0": 10, "1": 10, "2": 10}
    assert client.get(f"/api/v1/datasets/{importer.dataset_id}/imports").json()["items"] == [done]
    assert parts(importer) == 0
    with importer.context.database.unit_of_work() as session:
        assert session.scalar(select(DatasetImport.access_encrypted).where(DatasetImport.id == row["id"])) is None


def test_a_table_of_unknown_length_is_fetched(
    client: TestClient, tenant: Tenant, source: Source, context: ControlContext
) -> None:
    body = {"project_id": str(tenant.project_id), "name": "wine", "kind": "tabular", "target_column": "target"}
    importer = Importer(client, client.post("/api/v1/datasets", json=body).json()["id"], context)
    source.content["latest"] = csv_of("wine")
    source.says_length = False
    row = importer.start(source.url("latest"), file_name="wine.csv", credentials={"authorization": "Bearer abc"})
    assert importer.work(row)["status_reason"] == "178 rows"
    assert source.authorizations == ["Bearer abc"]


def test_a_broken_connection_goes_on_where_it_was(importer: Importer, source: Source) -> None:
    source.content["digits.zip"] = data = archive(digits())
    source.break_after = 3000
    row = importer.start(source.url("digits.zip"))
    waiting = importer.work(row)
    assert (waiting["status"], waiting["received_bytes"], waiting["size_bytes"]) == ("running", 2048, len(data))
    assert "connection ended after 3000" in waiting["status_reason"]
    assert importer.work(row)["status"] == "completed"
    assert [wanted for _, wanted in source.asked] == [None, "bytes=2048-"]


@pytest.mark.parametrize("change", ["tag", "no tag", "no ranges"])
def test_what_changed_or_cannot_begin_in_the_middle_is_fetched_anew(
    importer: Importer, source: Source, change: str
) -> None:
    source.content["digits.zip"] = archive(digits())
    source.break_after = 3000
    if change == "no tag":
        source.tag = None
    row = importer.start(source.url("digits.zip"))
    importer.work(row)
    source.ranges = change != "no ranges"
    if change == "tag":
        source.tag, source.content["digits.zip"] = '"two"', archive(digits(2, 12))
    done = importer.work(row)
    assert (done["status"], done["file_count"]) == ("completed", 24 if change == "tag" else 30)


def test_another_worker_takes_over_and_the_first_records_nothing(importer: Importer, source: Source) -> None:
    source.content["digits.zip"] = archive(digits())
    row = importer.start(source.url("digits.zip"))
    stale = importer.claim(row)
    importer.expire(row)
    done = importer.work(row)
    assert done["status"] == "completed"
    tasks.step(importer.context, stale)
    assert importer.read(row) == done
    assert len(source.asked) == 1


def test_bad_files_fail_the_import_and_leave_nothing(
    importer: Importer, source: Source, leftovers: Callable[[], dict[str, int]]
) -> None:
    source.content["digits.zip"] = archive(digits() | {"0/bad.png": b"no image", "1/bad.gif": b"x"})
    done = importer.work(importer.start(source.url("digits.zip")))
    assert done["status"] == "failed"
    assert {each["path"]: each["code"] for each in done["errors"]} == {
        "0/bad.png": "not_an_image",
        "1/bad.gif": "unsupported_type",
    }
    assert (leftovers(), parts(importer)) == (LEFT, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(importer: Importer, source: Source, status: int) -> None:
    source.status = status
    done = importer.work(importer.start(source.url("digits.zip")))
    assert (done["status"], done["status_reason"]) == ("failed", f"the source refused: it answered {status}")


def test_a_source_that_is_down_is_asked_again_and_then_given_up(importer: Importer, source: Source) -> None:
    source.status = 503
    row = importer.start(source.url("digits.zip"))
    for _ in range(importing.MAX_TRIES - 1):
        assert importer.work(row)["status"] == "running"
    done = importer.work(row)
    assert (done["status"], done["status_reason"]) == ("failed", "the source answered 503; tried 6 times")


def test_what_is_no_longer_allowed_is_not_asked(importer: Importer, source: Source, context: ControlContext) -> None:
    row = importer.start(source.url("digits.zip"))
    # What the operator allowed when it was started counts no more once it is taken back.
    context.settings.imports.__dict__["allowed_hosts"] = frozenset()
    done = importer.work(row)
    assert (done["status"], source.asked) == ("failed", [])


def test_a_destroyed_key_ends_it(importer: Importer, source: Source, tenant: Tenant) -> None:
    row = importer.start(source.url("digits.zip"))
    with importer.context.database.unit_of_work() as session:
        session.execute(
            update(OrganizationKey)
            .where(OrganizationKey.organization_id == tenant.organization_id)
            .values(destroyed_at=func.clock_timestamp())
        )
    done = importer.work(row)
    assert (done["status"], "destroyed" in done["status_reason"], source.asked) == ("failed", True, [])


def test_a_mistake_of_ours_does_not_come_back_for_ever(
    importer: Importer, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.content["digits.zip"] = archive(digits())
    monkeypatch.setattr(importing, "MAX_TRIES", 2)
    monkeypatch.delitem(READERS, "image")
    row = importer.start(source.url("digits.zip"))
    assert importer.work(row)["status"] == "running"
    assert importer.work(row)["status"] == "failed"


def test_a_file_too_large_is_not_fetched(importer: Importer, source: Source, context: ControlContext) -> None:
    context.settings.imports.__dict__["max_bytes"] = 2000
    source.content["digits.zip"] = archive(digits())
    assert "at most 2000 are fetched" in importer.work(importer.start(source.url("digits.zip")))["status_reason"]
    source.says_length = False
    done = importer.work(importer.start(source.url("digits.zip")))
    assert (done["status"], "more than 2000 bytes" in done["status_reason"]) == ("failed", True)
    assert parts(importer) == 0


def test_cancelling_ends_it_whatever_it_does(importer: Importer, source: Source, client: TestClient) -> None:
    source.content["one.png"] = png(7)
    waiting = importer.start(source.url("one.png"), label="seven")
    asked = client.post(f"/api/v1/imports/{waiting['id']}/cancel").json()
    assert (asked["status"], asked["status_reason"]) == ("queued", "being cancelled")
    assert importer.work(waiting)["status"] == "cancelled"
    assert client.post(f"/api/v1/imports/{waiting['id']}/cancel").status_code == 200
    assert source.asked == []
    done = importer.start(source.url("one.png"), label="seven")
    assert importer.work(done)["status"] == "completed"
    answer = client.post(f"/api/v1/imports/{done['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "import_ended")


def test_the_control_fetches_in_the_background_and_sees_a_cancellation(
    importer: Importer,
    source: Source,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    controller_database: Database,
) -> None:
    monkeypatch.setattr(importer.context.settings.control, "lease_seconds", 0.8)
    with controller_database.unit_of_work() as session:
        # Imports of other tests are not what is looked at, and only some are worked on at once.
        session.execute(text("UPDATE dataset_imports SET due_at = now() + interval '1 hour' WHERE due_at IS NOT NULL"))
    source.content["digits.zip"] = bytes(3_000_000)
    source.seconds_per_chunk = 0.2
    row = importer.start(source.url("digits.zip"))
    assert tasks.control(importer.context) >= 1
    _until(lambda: importer.read(row)["received_bytes"] > 0)
    client.post(f"/api/v1/imports/{row['id']}/cancel")
    _until(lambda: importer.read(row)["status"] == "cancelled")
    _until(lambda: parts(importer) == 0)
    assert importer.read(row)["received_bytes"] < 3_000_000


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_parts_that_a_crash_left_are_removed(importer: Importer, tenant: Tenant, source: Source) -> None:
    row = importer.start(source.url("one.png"), label="seven")
    left = f"imports/{tenant.organization_id}/{'0' * 8}-0000-7000-8000-{'0' * 12}/00000"
    kept = f"imports/{tenant.organization_id}/{row['id']}/00000"
    for key in (left, kept):
        importer.context.storage.put(key, b"x")
    assert remove_orphans_of_imports(importer.context.database, importer.context.storage) == 1
    assert (importer.context.storage.exists(left), importer.context.storage.exists(kept)) == (False, True)
    importer.context.storage.delete(kept)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"source": "https://169.254.169.254/latest"}, "import_source_refused"),
        ({"source": "http://example.org/a.zip"}, "import_source_refused"),
        ({"source": "https://user:word@example.org/a.zip"}, "import_source_refused"),
        ({"source": "https://example.org/"}, "import_source_refused"),
        ({"source": "s3://bucket"}, "import_source_refused"),
        ({"source": "s3://bucket/a.zip", "endpoint_url": "https://10.0.0.1"}, "import_source_refused"),
        ({"source": "ftp://example.org/a.zip"}, "invalid_request"),
        ({"source": "https://example.org/a b"}, "invalid_request"),
        ({"source": "https://example.org/a.zip", "region": "eu-west-1"}, "import_source_refused"),
        ({"source": "s3://b/a.zip", "credentials": {"authorization": "x"}}, "import_source_refused"),
        ({"source": "https://example.org/a", "credentials": {"authorization": "a\r\nX: y"}}, "invalid_request"),
        ({"source": "https://example.org/a.zip", "file_name": "../a"}, "invalid_request"),
    ],
)
def test_bad_requests_are_refused(client: TestClient, dataset: dict[str, Any], body: dict[str, Any], code: str) -> None:
    answer = client.post(f"/api/v1/datasets/{dataset['id']}/imports", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert client.get(f"/api/v1/datasets/{dataset['id']}/imports").json()["items"] == []
