"""What pages ask of datasets: search, counts, pages of files, a split's sizes before it is frozen."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from backend.core.db import Database
from backend.core.pagination import PageRequest
from backend.datasets import service
from backend.datasets.errors import DatasetNotFound, SingleClass, SplitInvalid, TooFewFiles
from backend.datasets.schemas import VersionCreate
from backend.datasets.split import SPLITS, share_out
from tests.datasets.files import Uploader, archive, digits, png
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration


def test_search_is_for_letters_not_for_patterns(client: TestClient, tenant: Tenant, app_database: Database) -> None:
    for name in ("Cats", "cats-2", "dogs"):
        body = {"project_id": str(tenant.project_id), "name": name, "kind": "image"}
        assert client.post("/api/v1/datasets", json=body).status_code == 201

    def found(**where: Any) -> list[str]:
        with app_database.unit_of_work(tenant.scope) as session:
            rows, _ = service.search_datasets(session, tenant.scope, PageRequest(), **where)
            return [row.name for row in rows]

    assert found(text="CAT") == ["cats-2", "Cats"]
    assert found(text="%") == []
    assert found(text="_") == []
    assert found(project_id=tenant.project_id, kind="image") == ["dogs", "cats-2", "Cats"]
    assert found(project_id=uuid4()) == []


def test_files_are_counted_and_come_in_pages(
    uploader: Uploader, dataset: dict[str, Any], tenant: Tenant, app_database: Database
) -> None:
    files = digits(3, 5)
    assert uploader.send(archive(files)).status_code == 200
    key = UUID(dataset["id"])
    with app_database.unit_of_work(tenant.scope) as session:
        assert service.count_files(session, tenant.scope, [key, uuid4()]) == {key: 15}
        totals = service.count_dataset(session, tenant.scope, key)
        assert (totals.file_count, totals.size_bytes) == (15, sum(len(one) for one in files.values()))
        assert [(one.label, one.file_count) for one in totals.labels] == [("0", 5), ("1", 5), ("2", 5)]
        seen, cursor = [], None
        while True:
            page = PageRequest(limit=4, cursor=cursor)
            rows, cursor = service.browse_files(session, tenant.scope, key, page)
            seen += [row.path for row in rows]
            if cursor is None:
                break
        assert seen == sorted(files)
        rows, _ = service.browse_files(session, tenant.scope, key, PageRequest(), label="1")
        assert {row.label for row in rows} == {"1"}
        file = service.find_file(session, tenant.scope, key, rows[0].id)
        assert file is not None
        assert service.find_file(session, tenant.scope, uuid4(), rows[0].id) is None
        with pytest.raises(DatasetNotFound):
            service.browse_files(session, tenant.scope, uuid4(), PageRequest())


def test_open_uploads_say_what_has_arrived(
    uploader: Uploader, dataset: dict[str, Any], tenant: Tenant, app_database: Database
) -> None:
    data = archive({f"0/{n}.png": png(n, size=(64, 64)) for n in range(30)})
    opened = uploader.open(data)
    uploader.put(opened, 1, data)
    uploader.put(opened, 3, data)
    other = uploader.open(archive(digits(1, 1)))
    with app_database.unit_of_work(tenant.scope) as session:
        every = service.open_uploads(session, tenant.scope, UUID(dataset["id"]), limit=10)
        assert [(str(upload.id), stored) for upload, stored in every] == [(other["id"], 0), (opened["id"], 2)]
        one = service.open_uploads(session, tenant.scope, UUID(dataset["id"]), limit=10, sha256=opened["sha256"])
        assert [str(upload.id) for upload, _ in one] == [opened["id"]]


@pytest.mark.parametrize(
    "wanted",
    [
        VersionCreate(),
        VersionCreate(splits={"train": 11, "validation": 5, "test": 3}, seed=7),
        VersionCreate(splits={"train": 0.5, "test": 0.5}),
    ],
)
def test_the_plan_is_what_freezing_gives(
    uploader: Uploader, dataset: dict[str, Any], tenant: Tenant, app_database: Database, wanted: VersionCreate
) -> None:
    files = digits(3, 5) | {f"3/{n}.png": png(200 + n) for n in range(9)}
    assert uploader.send(archive(files)).status_code == 200
    with app_database.unit_of_work(tenant.scope) as session:
        plan = service.plan_version(session, tenant.scope, UUID(dataset["id"]), wanted)
    made = uploader.client.post(
        f"/api/v1/datasets/{dataset['id']}/versions", json=wanted.model_dump(mode="json")
    ).json()
    assert plan.splits == made["splits"]
    assert plan.classes == made["classes"]
    assert plan.left_out == 24 - made["file_count"]


def test_a_plan_is_refused_as_freezing_is(
    uploader: Uploader, dataset: dict[str, Any], tenant: Tenant, app_database: Database
) -> None:
    def plan(wanted: VersionCreate) -> None:
        with app_database.unit_of_work(tenant.scope) as session:
            service.plan_version(session, tenant.scope, UUID(dataset["id"]), wanted)

    with pytest.raises(TooFewFiles):
        plan(VersionCreate())
    uploader.send(archive(digits(1, 5)))
    with pytest.raises(SingleClass):
        plan(VersionCreate())
    uploader.send(archive({"1/1.png": png(99)}))
    with pytest.raises(SplitInvalid):
        plan(VersionCreate(splits={"train": 0.5, "test": 0.1}))
    with pytest.raises(TooFewFiles, match="nothing of the label '1'"):
        plan(VersionCreate(splits={"train": 1, "test": 1}))


def test_shares_are_exact_and_leave_nobody_out() -> None:
    counts = {"a": 100, "b": 10, "c": 1}
    shares = share_out(counts, {"train": 80, "validation": 0, "test": 31})
    assert list(shares) == ["train", "test"]
    assert {split: sum(one.values()) for split, one in shares.items()} == {"train": 80, "test": 31}
    assert {label: sum(one[label] for one in shares.values()) for label in counts} == counts
    assert set(shares) <= set(SPLITS)
