"""What uploads and imports share: a whole file is read by the reader of the dataset's kind, stored, recorded."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any
from uuid import UUID

from backend.core.db import Scope
from backend.core.storage import ObjectStore
from backend.datasets.archive import conflicts
from backend.datasets.catalog import dataset_not_found
from backend.datasets.columns import joined
from backend.datasets.kinds import Incoming, Known, NewFile, known_columns
from backend.datasets.problems import problem, refused
from backend.datasets.repository import DatasetRepository

WRITERS = 8
WRITE_BATCH = 256


def what_is_known(repository: DatasetRepository, dataset_id: UUID) -> tuple[str, Known]:
    """The dataset's kind, and what a new file must agree with. Raises DatasetNotFound."""
    dataset = repository.dataset(dataset_id)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    known = Known(
        digests=repository.digests_by_path(dataset_id),
        attributes=[] if dataset.kind == "image" else repository.attributes(dataset_id),
        declared=dataset.column_types,
        target=dataset.target_column,
    )
    return dataset.kind, known


def store(storage: ObjectStore, scope: Scope, incoming: Incoming) -> None:
    """Put every blob; each writer holds one, so memory stays flat."""

    def put(sha256: str) -> None:
        content = incoming.content(sha256)
        if isinstance(content, bytes):
            storage.put_blob_bytes(scope.organization_id, sha256, content)
        else:
            storage.put_received(scope.organization_id, sha256, content)

    with ThreadPoolExecutor(WRITERS) as writers:
        # In batches: an archive may hold more images than there should be futures.
        waiting = iter(incoming.blobs)
        while batch := list(islice(waiting, WRITE_BATCH)):
            list(writers.map(put, batch))


def record(
    repository: DatasetRepository,
    dataset_id: UUID,
    source_id: UUID,
    *,
    files: Sequence[NewFile],
    blobs: Mapping[str, int],
) -> None:
    """The files become files of the dataset. Raises DatasetNotFound, InvalidFiles: another upload came before.

    Two uploads of one dataset record one after the other, so that none overwrites a path of the other.
    """
    dataset = repository.dataset(dataset_id, lock=True)
    if dataset is None:
        raise dataset_not_found(dataset_id)
    known = repository.digests_by_path(dataset_id)
    if changed := conflicts(files, known):
        raise refused(changed)
    fresh = [file for file in files if file.path not in known]
    if dataset.kind != "image":
        _check_that_they_agree(repository.attributes(dataset_id), fresh)
    repository.add_blobs(dict(blobs))
    repository.add_files(dataset_id, source_id, [_row(file) for file in fresh])


def _check_that_they_agree(known: Sequence[Mapping[str, Any]], fresh: Sequence[NewFile]) -> None:
    """The reader saw to it, unless another file came meanwhile. Raises InvalidFiles."""
    for file in fresh if known else []:
        if "labelled" in file.attributes:
            agree = file.attributes["labelled"] == known[0]["labelled"]
        else:
            theirs, ours = known_columns(known), dict(file.attributes["columns"])
            agree = set(theirs) == set(ours) and all(
                joined(theirs[name], ours[name]) != "text" or {theirs[name], ours[name]} <= {"text", None}
                for name in ours
            )
        if not agree:
            message = "another file came meanwhile, and the two do not agree: upload it again to see where"
            raise refused([problem(file.path, "files_differ", message)])


def _row(file: NewFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "label": file.label,
        "attributes": file.attributes,
    }
