"""Projects, and data: upload in resumable parts, freeze into versions."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from modelyard.errors import FileUnusable
from modelyard.room import Room, given
from modelyard.types import Dataset, DatasetFile, DatasetImport, DatasetVersion, Project, Upload, UploadPart

DEFAULT_PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 3
Told = Callable[[int, int], None]
"""Told how many bytes of how many are stored."""


class Projects(Room):
    """Workspaces."""

    def create(self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> Project:
        """A new project."""
        body = {"name": name, "description": description, "tags": dict(tags or {})}
        return self._http.post("/api/v1/projects", body, Project)

    def list(self, *, name: str | None = None) -> Iterator[Project]:
        """All projects, newest first, or the one of this name."""
        return self._http.pages("/api/v1/projects", Project, name=name)

    def get(self, project_id: str) -> Project:
        """One project."""
        return self._http.get(f"/api/v1/projects/{project_id}", Project)

    def ensure(self, name: str) -> Project:
        """The project of this name, made if there is none."""
        return next(self.list(name=name), None) or self.create(name)

    def update(
        self, project_id: str, *, description: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Project:
        """Change its description, or replace its tags."""
        return self._http.patch(f"/api/v1/projects/{project_id}", given(description=description, tags=tags), Project)

    def delete(self, project_id: str) -> None:
        """Delete an empty project."""
        self._http.delete(f"/api/v1/projects/{project_id}")


class Datasets(Room):
    """Data: upload in resumable parts, freeze into versions."""

    def create(
        self,
        project_id: str,
        name: str,
        *,
        kind: str = "image",
        description: str = "",
        target_column: str | None = None,
        column_types: Mapping[str, str] | None = None,
    ) -> Dataset:
        """A new, empty dataset of kind image, tabular or text; target and types are a table's."""
        body: dict[str, Any] = {"project_id": project_id, "name": name, "kind": kind, "description": description}
        body |= {"target_column": target_column, "column_types": dict(column_types or {})}
        return self._http.post("/api/v1/datasets", body, Dataset)

    def list(self, project_id: str | None = None, *, name: str | None = None) -> Iterator[Dataset]:
        """Datasets, newest first."""
        return self._http.pages("/api/v1/datasets", Dataset, project_id=project_id, name=name)

    def get(self, dataset_id: str) -> Dataset:
        """One dataset."""
        return self._http.get(f"/api/v1/datasets/{dataset_id}", Dataset)

    def update(
        self,
        dataset_id: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        target_column: str | None = None,
    ) -> Dataset:
        """Change its description or a table's target, or replace its tags."""
        body = given(description=description, tags=tags, target_column=target_column)
        return self._http.patch(f"/api/v1/datasets/{dataset_id}", body, Dataset)

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset that nothing was made of."""
        self._http.delete(f"/api/v1/datasets/{dataset_id}")

    def read_current(self, dataset_id: str, sha256: str) -> bytes:
        """Content of one file of the dataset as it is now."""
        return self._http.get_bytes(f"/api/v1/datasets/{dataset_id}/files/{sha256}")

    def abort_upload(self, upload_id: str) -> None:
        """Forget an upload and its parts."""
        self._http.delete(f"/api/v1/uploads/{upload_id}")

    def uploads(self, dataset_id: str) -> Iterator[Upload]:
        """Uploads of a dataset, newest first."""
        return self._http.pages(f"/api/v1/datasets/{dataset_id}/uploads", Upload)

    def upload(
        self,
        dataset_id: str,
        file: Path,
        *,
        label: str | None = None,
        part_size_bytes: int = DEFAULT_PART_BYTES,
        upload_id: str | None = None,
        resume: bool = False,
        told: Told | None = None,
    ) -> Upload:
        """Upload a file; returns the upload once it is checked.

        Images: a ZIP of `label/name.png`, or with `label` one image. A table: CSV with a header. Texts: JSON Lines of
        `{"text": …, "label": …}`, CSV, a ZIP of `label/name.txt`, or with `label` one text.
        `resume` goes on with an upload of the same file that was left open, `upload_id` with exactly that one.
        Raises FileUnusable, ApiError.
        """
        size, digest = _measure(file)
        if resume and upload_id is None:
            alike = (one for one in self.uploads(dataset_id) if one.status == "open" and one.sha256 == digest)
            upload_id = next((one.id for one in alike), None)
        if upload_id is None:
            body: dict[str, Any] = {"file_name": file.name, "size_bytes": size, "sha256": digest, "label": label}
            body["part_size_bytes"] = part_size_bytes
            upload = self._http.post(f"/api/v1/datasets/{dataset_id}/uploads", body, Upload)
            stored: set[int] = set()
        else:
            found = self._http.get(f"/api/v1/uploads/{upload_id}", dict[str, Any])
            upload = msgspec.convert(found, Upload)
            if upload.sha256 != digest:
                raise FileUnusable(f"{file} is not the file of upload {upload_id}: its digest differs")
            stored = {part.number for part in msgspec.convert(found["parts"], list[UploadPart])}
        self._put_parts(upload, file, stored, told)
        return self._http.post(f"/api/v1/uploads/{upload.id}/complete", {}, Upload)

    def _put_parts(self, upload: Upload, file: Path, stored: set[int], told: Told | None) -> None:
        """Several parts travel at once: while one is stored, the next is on its way."""
        part_size = upload.part_size_bytes

        def put(number: int) -> int:
            if number in stored:
                return number
            with file.open("rb") as content:
                content.seek((number - 1) * part_size)
                self._http.put_bytes(f"/api/v1/uploads/{upload.id}/parts/{number}", content.read(part_size))
            return number

        with ThreadPoolExecutor(PARTS_AT_ONCE) as senders:
            sent = senders.map(put, range(1, upload.part_count + 1))
            try:
                for number in sent:
                    if told is not None:
                        told(min(number * part_size, upload.size_bytes), upload.size_bytes)
            finally:
                senders.shutdown(cancel_futures=True)

    def freeze(
        self, dataset_id: str, *, splits: Mapping[str, float], seed: int = 0, stratify: bool = True
    ) -> DatasetVersion:
        """An immutable version: sizes as counts, or as fractions that sum to 1."""
        body = {"splits": dict(splits), "seed": seed, "stratify": stratify}
        return self._http.post(f"/api/v1/datasets/{dataset_id}/versions", body, DatasetVersion)

    def preview(self, dataset_id: str) -> dict[str, Any]:
        """What the dataset holds now: images per label, columns with statistics, or texts, by its `kind`."""
        return self._http.get(f"/api/v1/datasets/{dataset_id}/preview", dict[str, Any])

    def preview_version(self, version_id: str) -> dict[str, Any]:
        """The same of a version."""
        return self._http.get(f"/api/v1/dataset-versions/{version_id}/preview", dict[str, Any])

    def start_import(
        self,
        dataset_id: str,
        source: str,
        *,
        file_name: str | None = None,
        label: str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> DatasetImport:
        """Have the platform fetch a file from `https://…` or `s3://bucket/key`, in the background.

        `credentials`: of S3 `access_key_id`, `secret_access_key` and perhaps `session_token`; of https `authorization`.
        """
        body: dict[str, Any] = {"source": source, "file_name": file_name, "label": label, "region": region}
        body |= {"endpoint_url": endpoint_url, "credentials": dict(credentials) if credentials else None}
        return self._http.post(f"/api/v1/datasets/{dataset_id}/imports", body, DatasetImport)

    def imports(self, dataset_id: str) -> Iterator[DatasetImport]:
        """Imports of a dataset, newest first."""
        return self._http.pages(f"/api/v1/datasets/{dataset_id}/imports", DatasetImport)

    def get_import(self, import_id: str) -> DatasetImport:
        """One import: how far it is, how it ended."""
        return self._http.get(f"/api/v1/imports/{import_id}", DatasetImport)

    def cancel_import(self, import_id: str) -> DatasetImport:
        """Ask for its end."""
        return self._http.post(f"/api/v1/imports/{import_id}/cancel", {}, DatasetImport)

    def version(self, version_id: str) -> DatasetVersion:
        """One version."""
        return self._http.get(f"/api/v1/dataset-versions/{version_id}", DatasetVersion)

    def tag_version(self, version_id: str, tags: Mapping[str, str]) -> DatasetVersion:
        """Replace a version's tags."""
        return self._http.patch(f"/api/v1/dataset-versions/{version_id}", {"tags": dict(tags)}, DatasetVersion)

    def versions(self, dataset_id: str) -> Iterator[DatasetVersion]:
        """Versions, newest first."""
        return self._http.pages(f"/api/v1/datasets/{dataset_id}/versions", DatasetVersion)

    def files(self, version_id: str, *, split: str | None = None) -> Iterator[DatasetFile]:
        """Files of a version."""
        path = f"/api/v1/dataset-versions/{version_id}/files"
        return self._http.pages(path, DatasetFile, split=split, limit=200)

    def read(self, version_id: str, sha256: str) -> bytes:
        """Content of one file."""
        return self._http.get_bytes(f"/api/v1/dataset-versions/{version_id}/files/{sha256}")


def _measure(file: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256. Raises FileUnusable."""
    try:
        with file.open("rb") as content:
            return file.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise FileUnusable(f"{file} cannot be read: {error.strerror}") from error
