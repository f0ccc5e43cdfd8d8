"""Hostile archives: bombs, paths that leave, duplicates, lies."""

import io
import struct
import zipfile
import zlib

import pytest

from backend.datasets import archive as archives
from backend.datasets import images as image_module
from backend.datasets.archive import content_reader, read_upload
from backend.datasets.errors import InvalidFiles
from tests.datasets.files import archive, digits, jpeg, png, sha256

pytestmark = pytest.mark.unit


def codes(data: bytes, **known: str) -> dict[str, str]:
    with pytest.raises(InvalidFiles) as caught:
        read_upload(io.BytesIO(data), file_name="a.zip", label=None, known=known)
    return {error["path"]: error["code"] for error in caught.value.extra["errors"]}


def test_images_are_described_and_read_back() -> None:
    members = {"seven/a.png": png(1, size=(28, 20)), "one/b.JPEG": jpeg(2)}
    file = io.BytesIO(archive(members))
    images = read_upload(file, file_name="a.zip", label=None, known={})
    seven = images[0]
    assert (seven.path, seven.label, seven.width, seven.height, seven.mode) == (
        "seven/a.png",
        "seven",
        28,
        20,
        "L",
    )
    assert seven.sha256 == sha256(members["seven/a.png"])
    with content_reader(file, images) as read:
        assert {image.path: read(image) for image in images} == members


@pytest.mark.parametrize(
    "name",
    [
        "../a/b.png",
        "a/../b.png",
        "/a/b.png",
        "a//b.png",
        "./a.png",
        "a\\b.png",
        "C:/b.png",
        "a/b\n.png",
        "..\\a/b.png",
    ],
)
def test_paths_that_leave_are_refused(name: str) -> None:
    assert set(codes(archive(digits() | {name: png(1)})).values()) == {"unsafe_path"}


@pytest.mark.parametrize("name", ["b.png", "a/b/c.png", "mnist/train/7/c.png"])
def test_files_lie_one_folder_deep(name: str) -> None:
    assert codes(archive({name: png(1)})) == {name: "wrong_layout"}


def test_a_path_twice_is_refused() -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr("a/1.png", png(1))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a/1.png", png(2))
    assert codes(target.getvalue()) == {"a/1.png": "duplicate_path"}


def test_two_spellings_of_one_path_are_refused() -> None:
    data = archive({"caf\u00e9/1.png": png(1), "cafe\u0301/1.png": png(2)})
    assert list(codes(data).values()) == ["duplicate_path"]


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = archive({"a/1.png": bytes(64 << 20)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert codes(bomb) == {"": "archive_too_large"}


def test_a_member_that_lies_about_its_size_is_cut_there(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(archive({"a/1.png": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED))
    real, lie = struct.pack("<L", 1 << 20), struct.pack("<L", 100)
    assert data.count(real) >= 2
    assert codes(bytes(data.replace(real, lie))) == {"a/1.png": "corrupt_archive"}
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1 << 19)
    assert codes(bytes(data)) == {"a/1.png": "file_too_large"}


def test_too_many_files_or_too_large_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(digits(2, 5))
    monkeypatch.setattr(archives, "MAX_FILES", 9)
    assert codes(data) == {"": "too_many_files"}
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 100)
    assert codes(data) == {"a.zip": "not_an_archive"}


def test_pixels_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_PIXELS", 100)
    assert codes(archive({"a/1.png": png(1, size=(11, 10))})) == {"a/1.png": "too_many_pixels"}


def test_a_png_that_claims_a_billion_pixels() -> None:
    header = struct.pack(">LLBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert codes(archive({"a/1.png": data}))["a/1.png"] in {"too_many_pixels", "not_an_image"}


def test_what_is_no_archive() -> None:
    for data in (b"", b"hello", png(1), archive(digits())[:-30]):
        assert list(codes(data).values()) == ["not_an_archive"]
    assert codes(archive({"a/1.png": png(1)})[20:]) == {"a/1.png": "corrupt_archive"}


def test_an_archive_without_images() -> None:
    assert codes(archive({})) == {"": "no_files"}
    assert codes(archive({"__MACOSX/a/1.png": b"x", ".hidden/1.png": b"x", "a/.DS_Store": b"x"})) == {"": "no_files"}


def test_an_encrypted_member() -> None:
    data = bytearray(archive({"a/1.png": png(1)}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert codes(bytes(data)) == {"a/1.png": "encrypted"}


def test_a_flipped_bit_in_the_content() -> None:
    data = bytearray(archive({"a/1.png": png(1)}))
    data[data.index(b"IDAT") + 6] ^= 1
    assert codes(bytes(data)) == {"a/1.png": "corrupt_archive"}
