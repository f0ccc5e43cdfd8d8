"""The contract of the object store, on a local directory and in memory."""

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from backend.core.ids import new_id
from backend.core.storage import (
    CHUNK_BYTES,
    SPOOL_BYTES,
    DigestMismatch,
    ObjectMissing,
    ObjectStore,
    StorageFull,
    StorageUnavailable,
    blob_key,
    new_spool,
)
from tests.fixtures.disks import Disks, can_mount
from tests.fixtures.limits import files_end_at

pytestmark = pytest.mark.unit


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return ObjectStore("memory:///" if request.param == "memory" else f"file://{tmp_path}/objects")


@pytest.fixture
def organization_id() -> UUID:
    return new_id()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunks(data: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def test_put_get_replace_delete(store: ObjectStore) -> None:
    store.put("logs/a/1", b"one")
    store.put("logs/a/1", b"two")
    assert store.get("logs/a/1") == b"two"
    assert store.exists("logs/a/1")
    store.delete("logs/a/1")
    store.delete("logs/a/1")
    assert not store.exists("logs/a/1")


def test_a_missing_object_is_a_404(store: ObjectStore) -> None:
    for read in (store.get, store.stream):
        with pytest.raises(ObjectMissing) as caught:
            read("nothing/here")
        assert (caught.value.status, caught.value.code) == (404, "object_not_found")


def test_keys_lists_what_lies_below_a_prefix(store: ObjectStore) -> None:
    for key in ("uploads/1/a", "uploads/1/b", "uploads/10/c"):
        store.put(key, b"x")
    assert sorted(store.keys("uploads/1/")) == ["uploads/1/a", "uploads/1/b"]
    assert store.keys("uploads/2/") == []


def test_put_takes_an_open_file(store: ObjectStore) -> None:
    with new_spool() as spool:
        spool.write(b"from a spool")
        spool.seek(0)
        store.put("file", spool)
    assert store.get("file") == b"from a spool"


def test_joined_objects_read_and_seek_as_one_file(store: ObjectStore) -> None:
    parts = [bytes([number]) * size for number, size in enumerate([100_000, 1, 70_000, 0, 65_537])]
    whole = b"".join(parts)
    for number, content in enumerate(parts):
        store.put(f"part/{number}", content)
    with store.joined([(f"part/{number}", len(content)) for number, content in enumerate(parts)]) as file:
        assert file.read() == whole
        assert file.read(1) == b""
        assert file.seek(0, io.SEEK_END) == len(whole)
        for start, length in [(0, 3), (99_990, 20), (100_000, 1), (99_999, 70_010), (170_000, 100_000)]:
            file.seek(start)
            assert file.read(length) == whole[start : start + length]


def test_joined_objects_of_which_one_is_gone_say_so(store: ObjectStore) -> None:
    store.put("part/1", b"one")
    with pytest.raises(ObjectMissing), store.joined([("part/1", 3), ("part/2", 3)]) as file:
        file.read()


def test_a_local_object_streams_in_bounded_pieces(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/objects")
    data = bytes(range(256)) * 10_000
    store.put("large", data)
    pieces = list(store.stream("large"))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= CHUNK_BYTES


def test_an_empty_object_streams_nothing_and_an_absent_one_is_an_error(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert b"".join(store.stream("empty")) == b""
    with pytest.raises(ObjectMissing):
        store.stream("absent")


@pytest.mark.parametrize("size", [0, 1, SPOOL_BYTES, SPOOL_BYTES + 7_654_321])
def test_blob_round_trip(store: ObjectStore, organization_id: UUID, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    assert store.put_blob(organization_id, sha256(data), chunks(data)) == size
    assert store.get_blob(organization_id, sha256(data)) == data
    assert b"".join(store.stream_blob(organization_id, sha256(data))) == data


def test_wrong_digest_stores_nothing(store: ObjectStore, organization_id: UUID) -> None:
    with pytest.raises(DigestMismatch) as caught:
        store.put_blob(organization_id, sha256(b"declared"), [b"received"])
    assert (caught.value.status, caught.value.code) == (422, "checksum_mismatch")
    assert store.keys("blobs/") == []


def test_a_reader_that_fails_midway_stores_nothing(store: ObjectStore, organization_id: UUID) -> None:
    def truncated() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_blob(organization_id, sha256(b"half and half"), truncated())
    assert store.keys("blobs/") == []


def test_concurrent_puts_of_one_blob_agree(store: ObjectStore, organization_id: UUID) -> None:
    data = io.BytesIO(b"same" * 500_000).getvalue()
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: store.put_blob(organization_id, sha256(data), chunks(data, 65_536)), range(8)))
    assert sizes == [len(data)] * 8
    assert store.keys("blobs/") == [blob_key(organization_id, sha256(data))]


def test_organizations_do_not_share_blobs(store: ObjectStore, organization_id: UUID) -> None:
    store.put_blob(organization_id, sha256(b"mine"), [b"mine"])
    with pytest.raises(ObjectMissing):
        store.get_blob(new_id(), sha256(b"mine"))


def test_the_local_folder_is_closed_to_others(tmp_path: Path) -> None:
    ObjectStore(f"file://{tmp_path}/objects")
    assert (tmp_path / "objects").stat().st_mode & 0o777 == 0o700


def test_a_store_without_room_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path}/objects")
    store.put("logs/a/1", b"one")
    with files_end_at(1000), pytest.raises(StorageUnavailable):
        store.put("logs/a/2", bytes(5000))
    assert store.keys("logs/a/") == ["logs/a/1"]
    store.put("logs/a/2", bytes(5000))
    assert len(store.get("logs/a/2")) == 5000


@pytest.mark.skipif(not can_mount(), reason="mounting takes root")
def test_a_full_disk_is_told_as_that(tmp_path: Path) -> None:
    disks = Disks(tmp_path / "home")
    (tmp_path / "home").mkdir()
    disks.mount()
    try:
        store = ObjectStore(f"file://{disks.folder('objects')}")
        with disks.full("objects"), pytest.raises(StorageFull) as refused:
            store.put("logs/a/1", bytes(10_000))
        assert refused.value.status == 507
        store.put("logs/a/1", bytes(10_000))
    finally:
        disks.unmount()
