"""Images and archives made for tests, and the client's side of an upload."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

from PIL import Image
from starlette.testclient import TestClient


def png(shade: int, *, size: tuple[int, int] = (8, 8)) -> bytes:
    """A gray image; another shade is another image."""
    target = io.BytesIO()
    Image.new("L", size, shade % 256).save(target, "PNG")
    return target.getvalue()


def jpeg(shade: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(target, "JPEG")
    return target.getvalue()


def archive(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return target.getvalue()


def digits(classes: int = 3, each: int = 10) -> dict[str, bytes]:
    """`classes` labels with `each` distinct images."""
    return {f"{label}/{n:02d}.png": png(label * each + n) for label in range(classes) for n in range(each)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Uploader:
    """What a client does to upload a file into a dataset."""

    def __init__(self, client: TestClient, dataset_id: str) -> None:
        self.client = client
        self.dataset_id = dataset_id

    def open(self, data: bytes, **changes: Any) -> dict[str, Any]:
        body = {
            "file_name": "digits.zip",
            "size_bytes": len(data),
            "sha256": sha256(data),
            "part_size_bytes": 1024,
        }
        answer = self.client.post(f"/api/v1/datasets/{self.dataset_id}/uploads", json=body | changes)
        assert answer.status_code == 201, answer.text
        opened: dict[str, Any] = answer.json()
        return opened

    def put(self, upload: dict[str, Any], number: int, data: bytes, **headers: str) -> Any:
        size = upload["part_size_bytes"]
        part = data[(number - 1) * size : number * size]
        return self.client.put(f"/api/v1/uploads/{upload['id']}/parts/{number}", content=part, headers=headers)

    def put_all(self, upload: dict[str, Any], data: bytes) -> None:
        for number in range(1, upload["part_count"] + 1):
            answer = self.put(upload, number, data)
            assert answer.status_code == 200, answer.text

    def complete(self, upload: dict[str, Any]) -> Any:
        return self.client.post(f"/api/v1/uploads/{upload['id']}/complete")

    def send(self, data: bytes, **changes: Any) -> Any:
        """All of it; returns the answer of the completion."""
        upload = self.open(data, **({"part_size_bytes": 1 << 20} | changes))
        self.put_all(upload, data)
        return self.complete(upload)
