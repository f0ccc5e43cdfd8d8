"""Files that causes send."""

import hashlib
from typing import Any

from tests.catalogue.cause import Call, post
from tests.datasets.files import png

FILES = {
    "zero.png": png(0),
    "letter.txt": b"This is no archive.",
    "table.csv": b"height,kind\n1,a\n2,b\n",
    "2049.bin": b"x" * 2049,
    "3-MiB.jsonl": b"x" * (3 * 1024 * 1024),
    "9-MiB.json": b" " * (9 * 1024 * 1024),
    "part.bin": b"y" * 2048,
    "large.bin": b"z" * (9 * 1024 * 1024),
}


def opened(name: str) -> dict[str, object]:
    """What opens an upload of a file in one part."""
    data = FILES[name]
    return {"file_name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def open_upload(name: str, dataset: str = "{dataset_id}", **other: Any) -> Call:
    """Open an upload of a file; `{own_id}` is its id."""
    return post(f"/datasets/{dataset}/uploads", {**opened(name), **other}, saves={"own_id": "id"})
