"""Tables and texts over the REST API: upload, preview, freeze into stratified versions."""

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from backend.core.storage import ObjectStore
from tests.datasets.files import Uploader, archive, digits
from tests.datasets.tables import csv_of, json_lines, paragraphs
from tests.fixtures.database import Tenant

pytestmark = pytest.mark.integration
Make = Callable[..., Uploader]


@pytest.fixture
def make(client: TestClient, tenant: Tenant) -> Make:
    """Makes a dataset and hands out what uploads into it."""

    def create(kind: str, **other: Any) -> Uploader:
        body = {"project_id": str(tenant.project_id), "name": f"some-{kind}", "kind": kind} | other
        answer = client.post("/api/v1/datasets", json=body)
        assert answer.status_code == 201, answer.text
        return Uploader(client, answer.json()["id"])

    return create


def freeze(uploader: Uploader, **body: Any) -> dict[str, Any]:
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/versions", json=body)
    assert answer.status_code == 201, answer.text
    version: dict[str, Any] = answer.json()
    return version


def rows_of(uploader: Uploader, version: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each split, as they come out of the API."""
    address = f"/api/v1/dataset-versions/{version['id']}/files"
    files = uploader.client.get(address).json()["items"]
    assert [file["path"] for file in files] == sorted(f"{name}.parquet" for name, n in version["splits"].items() if n)
    found = {}
    for file in files:
        answer = uploader.client.get(f"{address}/{file['sha256']}")
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        found[file["split"]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
    return found


def test_a_table_goes_all_the_way(make: Make, client: TestClient) -> None:
    uploader = make("tabular", target_column="target")
    done = uploader.send(csv_of("wine"), file_name="wine.csv")
    assert (done.status_code, done.json()["status_reason"]) == (200, "178 rows"), done.text
    address = f"/api/v1/datasets/{uploader.dataset_id}"
    detail = client.get(address).json()
    assert (detail["file_count"], detail["example_count"], detail["labels"]) == (1, 178, {})
    preview = client.get(f"{address}/preview").json()
    assert (preview["kind"], preview["examples"], preview["target_column"]) == ("tabular", 178, "target")
    alcohol, target = preview["columns"][0], preview["columns"][-1]
    assert (alcohol["type"], alcohol["minimum"], alcohol["maximum"]) == ("number", 11.03, 14.83)
    assert alcohol["mean"] == pytest.approx(13.000617977528)
    assert target["top"][0] == {"value": "class_1", "count": 71}
    assert len(preview["head"]) == 20
    version = freeze(uploader, splits={"train": 0.8, "validation": 0.1, "test": 0.1}, seed=5)
    assert (version["kind"], version["target_column"], version["example_count"]) == ("tabular", "target", 178)
    assert version["splits"] == {"train": 142, "validation": 18, "test": 18}
    assert version["classes"]["class_1"] == {"train": 57, "validation": 7, "test": 7}
    rows = rows_of(uploader, version)
    assert {split: len(found) for split, found in rows.items()} == version["splits"]
    counted = Counter((row["target"], split) for split, found in rows.items() for row in found)
    assert counted == {(label, split): n for label, each in version["classes"].items() for split, n in each.items()}
    text = csv_of("wine").decode().splitlines()[1:]
    assert sorted(row["alcohol"] for each in rows.values() for row in each) == sorted(
        float(t.split(",")[0]) for t in text
    )
    frozen = client.get(f"/api/v1/dataset-versions/{version['id']}/preview").json()
    assert frozen["examples"] == 178
    assert {each["name"]: each["distinct"] for each in frozen["columns"]} == {
        each["name"]: each["distinct"] for each in preview["columns"]
    }


def test_the_same_rows_and_seed_give_the_same_version(make: Make) -> None:
    uploader = make("tabular", target_column="target")
    uploader.send(csv_of("wine"), file_name="wine.csv")
    sizes = {"splits": {"train": 100, "test": 20}}
    first, again, other = freeze(uploader, **sizes), freeze(uploader, **sizes), freeze(uploader, **sizes, seed=1)
    assert first["manifest_sha256"] == again["manifest_sha256"] != other["manifest_sha256"]
    assert first["splits"] == {"train": 100, "validation": 0, "test": 20}
    rows = rows_of(uploader, first)
    assert not {tuple(row.items()) for row in rows["train"]} & {tuple(row.items()) for row in rows["test"]}


def test_several_files_of_one_table_are_one(make: Make, client: TestClient) -> None:
    header, *rows = csv_of("breast_cancer").decode().splitlines(keepends=True)
    uploader = make("tabular", target_column="target")
    for name, part in (("a.csv", rows[:300]), ("b.csv", rows[300:])):
        assert uploader.send((header + "".join(part)).encode(), file_name=name).status_code == 200
    address = f"/api/v1/datasets/{uploader.dataset_id}"
    preview = client.get(f"{address}/preview").json()
    assert preview["examples"] == 569
    assert {each["value"]: each["count"] for each in preview["columns"][-1]["top"]} == {"benign": 357, "malignant": 212}
    version = freeze(uploader)
    assert sum(version["classes"]["malignant"].values()) == 212
    # The same file again changes nothing; another one under its name is refused, as is one of other columns.
    again = (header + "".join(rows[:300])).encode()
    assert uploader.send(again, file_name="a.csv").status_code == 200
    assert client.get(address).json()["example_count"] == 569
    assert uploader.send(again[:-200], file_name="a.csv").json()["errors"][0]["code"] in {
        "path_exists",
        "wrong_field_count",
    }
    assert uploader.send(b"x,y\n1,2\n", file_name="c.csv").json()["errors"][-1]["code"] == "column_unknown"
    assert client.get(address).json()["example_count"] == 569


def test_a_quantity_is_spread_over_the_splits(make: Make, client: TestClient) -> None:
    uploader = make("tabular")
    uploader.send(csv_of("wine"), file_name="wine.csv")
    unstratified = freeze(uploader)
    assert (unstratified["classes"], unstratified["target_column"]) == ({}, None)
    assert client.patch(f"/api/v1/datasets/{uploader.dataset_id}", json={"target_column": "alcohol"}).status_code == 200
    version = freeze(uploader, splits={"train": 0.5, "test": 0.5})
    assert version["classes"] == {}
    rows = rows_of(uploader, version)
    means = [sum(row["alcohol"] for row in rows[split]) / len(rows[split]) for split in ("train", "test")]
    assert means[0] == pytest.approx(means[1], abs=0.05)
    extremes = [(min(r["alcohol"] for r in rows[s]), max(r["alcohol"] for r in rows[s])) for s in ("train", "test")]
    assert all(low < 11.9 and high > 14.3 for low, high in extremes)


@pytest.mark.parametrize(
    ("target", "data", "code"),
    [
        ("b", b"a,b\n1,x\n2,x\n", "single_class"),
        ("b", b"a,b\n1,x\n2,y\n3,y\n", "too_few_files"),
        ("a", b"a,b\n" + b"".join(b"x%d,1\n" % n for n in range(1001)), "target_invalid"),
    ],
)
def test_what_cannot_be_frozen_says_why(make: Make, target: str, data: bytes, code: str) -> None:
    uploader = make("tabular", target_column=target)
    assert uploader.send(data, file_name="a.csv").status_code == 200
    splits = {"splits": {"train": 1, "test": 1}}
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/versions", json=splits)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_target_is_a_column_with_a_value_in_every_row(make: Make, client: TestClient) -> None:
    uploader = make("tabular")
    uploader.send(b"a,b\n1,x\n2,\n3,y\n", file_name="a.csv")
    address = f"/api/v1/datasets/{uploader.dataset_id}"
    answer = client.patch(address, json={"target_column": "c"})
    assert (answer.status_code, answer.json()["code"], answer.json()["columns"]) == (422, "target_invalid", ["a", "b"])
    assert client.patch(address, json={"target_column": "b"}).json()["target_column"] == "b"
    answer = client.post(f"{address}/versions", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "target_invalid")
    assert client.patch(address, json={"target_column": ""}).json()["target_column"] is None
    images = make("image")
    answer = client.patch(f"/api/v1/datasets/{images.dataset_id}", json={"target_column": "b"})
    assert (answer.status_code, answer.json()["code"]) == (422, "target_invalid")


def test_texts_go_all_the_way(make: Make, client: TestClient) -> None:
    texts = paragraphs()
    uploader = make("text")
    assert uploader.send(json_lines(texts), file_name="manual.jsonl").status_code == 200
    labels = dict(Counter(label for _, label in texts))
    address = f"/api/v1/datasets/{uploader.dataset_id}"
    detail = client.get(address).json()
    assert (detail["labels"], detail["example_count"]) == (labels, len(texts))
    preview = client.get(f"{address}/preview").json()
    assert {each["label"]: each["count"] for each in preview["labels"]} == labels
    assert sum(each["count"] for each in preview["lengths"]) == len(texts)
    assert preview["labels"][0]["samples"][0] == next(text for text, label in texts if label == "concepts")[:1000]
    version = freeze(uploader)
    assert {label: sum(each.values()) for label, each in version["classes"].items()} == labels
    rows = rows_of(uploader, version)
    assert Counter((row["text"], row["label"]) for each in rows.values() for row in each) == Counter(texts)
    frozen = client.get(f"/api/v1/dataset-versions/{version['id']}/preview").json()
    assert (frozen["examples"], frozen["longest"]) == (len(texts), preview["longest"])


def test_texts_without_labels_are_split_all_the_same(make: Make, client: TestClient) -> None:
    uploader = make("text")
    lines = b"".join(b'{"text":"number %d"}\n' % n for n in range(50))
    assert uploader.send(lines, file_name="a.ndjson").status_code == 200
    version = freeze(uploader)
    assert (version["splits"], version["classes"]) == ({"train": 40, "validation": 5, "test": 5}, {})
    preview = client.get(f"/api/v1/dataset-versions/{version['id']}/preview").json()
    assert [(each["label"], each["count"]) for each in preview["labels"]] == [(None, 50)]
    one = uploader.send(b"another", file_name="one.txt", label="x")
    assert one.json()["errors"][0]["code"] == "label_missing"


def test_images_are_previewed_before_and_after_freezing(make: Make, client: TestClient) -> None:
    uploader = make("image")
    address = f"/api/v1/datasets/{uploader.dataset_id}"
    assert client.get(f"{address}/preview").json() == {"kind": "image", "examples": 0, "label_count": 0, "labels": []}
    members = digits(3, 10)
    uploader.send(archive(members))
    preview = client.get(f"{address}/preview").json()
    assert [(each["label"], each["count"]) for each in preview["labels"]] == [("0", 10), ("1", 10), ("2", 10)]
    samples = preview["labels"][1]["samples"]
    assert [each["path"] for each in samples] == [f"1/{n:02d}.png" for n in range(8)]
    shown = client.get(f"{address}/files/{samples[0]['sha256']}")
    assert (shown.content, shown.headers["content-type"]) == (members["1/00.png"], "image/png")
    assert client.get(f"{address}/files/{'0' * 64}").json()["code"] == "file_not_in_dataset"
    version = freeze(uploader)
    assert client.get(f"/api/v1/dataset-versions/{version['id']}/preview").json() == preview


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("tabular", {"file_name": "a.zip"}),
        ("tabular", {"file_name": "a.csv", "label": "x"}),
        ("text", {"file_name": "a.docx"}),
        ("text", {"file_name": "a.csv", "label": "x"}),
    ],
)
def test_a_file_of_another_kind_is_refused_before_it_travels(make: Make, kind: str, changes: dict[str, Any]) -> None:
    uploader = make(kind)
    body = {"size_bytes": 5, "sha256": "0" * 64} | changes
    answer = uploader.client.post(f"/api/v1/datasets/{uploader.dataset_id}/uploads", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_invalid")


def test_bad_rows_leave_nothing(make: Make, leftovers: Callable[[], dict[str, int]], storage: ObjectStore) -> None:
    assert storage is not None
    uploader = make("tabular", column_types={"age": "integer"})
    answer = uploader.send(b"age\n7\nold\n", file_name="a.csv")
    assert (answer.status_code, answer.json()["detail"]) == (422, "a.csv, line 3, column age: 'old' is not an integer")
    assert answer.json()["errors"] == [
        {"path": "a.csv", "code": "wrong_type", "message": "'old' is not an integer", "line": 3, "column": "age"}
    ]
    assert leftovers() == {"upload_parts": 0, "dataset_files": 0, "blobs": 0, "objects": 0}
