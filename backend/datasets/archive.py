"""Opening an uploaded file: a ZIP archive of images laid out `label/name.png`, or one image. Pure; hostile input.

Nothing is unpacked to disk and no name becomes a file name. Before anything is decoded, the archive's directory is
bounded: its own size, entries, uncompressed bytes, ratio. Hidden files and what macOS and Windows add (`__MACOSX`,
`.DS_Store`, `Thumbs.db`) are passed over. Everything wrong is listed file by file, up to `MAX_ERRORS`.
"""

import io
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import IO, Protocol

from backend.core.errors import DomainError
from backend.datasets.images import ImageFile, read_image
from backend.datasets.problems import MAX_ERRORS, MAX_PATH_CHARACTERS, FileError, Problem, problem, refused

IGNORED_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
MAX_FILES = 200_000
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 16 * 1024**3
MAX_RATIO = 100
"""Uncompressed to compressed bytes of an archive over `RATIO_FROM_BYTES`: images hardly compress, bombs do."""
RATIO_FROM_BYTES = 8 * 1024 * 1024
MAX_LABEL_CHARACTERS = 128
READERS = 4
READ_BATCH = 64
PATH_PARTS = 2
ENCRYPTED_FLAG = 0x1

Source = tuple[str | None, Callable[[], bytes]]
"""The name in the archive (None: the upload itself), and how to read the content; may raise FileError."""


def read_upload(file: IO[bytes], *, file_name: str, label: str | None, known: Mapping[str, str]) -> list[ImageFile]:
    """Every image of an upload, validated; nothing is kept of their content.

    `label`: of the only image, or None for an archive. `known`: SHA-256 by path of the dataset's files; the same
    content under the same path is fine, other content is an error. Raises InvalidFiles.
    """
    if label is not None:
        return _read_all({f"{label}/{file_name}": (None, lambda: whole(file))}, known)
    with opened(file, file_name=file_name, layout="label/name.png") as sources:
        return _read_all(sources, known)


@contextmanager
def opened(file: IO[bytes], *, file_name: str, layout: str) -> Iterator[dict[str, Source]]:
    """The members of an archive by dataset path, to be read while it is open. Raises InvalidFiles.

    `layout`: how files must lie, for messages.
    """
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            yield _sources(archive, layout)
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, struct.error) as error:
        raise refused([problem(file_name, "not_an_archive", f"this is no ZIP archive: {error}")]) from error


@contextmanager
def content_reader(file: IO[bytes], images: list[ImageFile]) -> Iterator[Callable[[ImageFile], bytes]]:
    """What reads the bytes of these validated images, as uploaded; from several threads at once."""
    if images and images[0].member is None:
        yield lambda _: whole(file)
        return
    with zipfile.ZipFile(file) as archive:
        yield lambda image: archive.read(image.member or "")


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a central directory too large to hold in memory, before `zipfile` reads it all.

    APPNOTE.TXT 6.3.10, sections 4.3.14 to 4.3.16. Raises BadZipFile.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 65_557 - 76))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("it has no directory")
    directory_bytes = struct.unpack_from("<L", tail, at + 12)[0]
    locator = at - 20
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        record = locator - 56
        directory_bytes = struct.unpack_from("<Q", tail, record + 40)[0] if record >= 0 else size
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("its directory is too large")


def _sources(archive: zipfile.ZipFile, layout: str) -> dict[str, Source]:
    """Members to read, by dataset path. Raises InvalidFiles: bounds, duplicates, names."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    _check_bounds(infos)
    errors: list[Problem] = []
    sources: dict[str, Source] = {}
    for info in infos:
        try:
            path = _dataset_path(info.filename, layout)
        except FileError as error:
            errors.append(problem(info.filename, error.code, str(error)))
            continue
        if path in sources:
            errors.append(problem(info.filename, "duplicate_path", "the archive holds this path twice"))
        elif path is not None:
            sources[path] = (info.filename, _reader(archive, info))
    if errors:
        raise refused(errors)
    if not sources:
        raise refused([problem("", "no_files", f"the archive holds no files laid out {layout}")])
    return sources


def _check_bounds(infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    packed = sum(info.compress_size for info in infos)
    if len(infos) > MAX_FILES:
        raise refused([problem("", "too_many_files", f"{len(infos)} files; at most {MAX_FILES} are taken")])
    if total > MAX_TOTAL_BYTES or (total > RATIO_FROM_BYTES and total > MAX_RATIO * packed):
        raise refused([problem("", "archive_too_large", f"{packed} bytes would unpack to {total}")])


def _dataset_path(name: str, layout: str) -> str | None:
    """`label/name.png`, in normal form C, or None for a file to pass over. Raises FileError."""
    if not name.isprintable() or "\\" in name or ":" in name.partition("/")[0]:
        raise FileError("unsafe_path", "the path has characters that are not allowed")
    parts = unicodedata.normalize("NFC", name).split("/")
    if not all(parts) or ".." in parts or "." in parts:
        raise FileError("unsafe_path", "the path leaves the archive")
    if any(part.startswith(".") or part in IGNORED_NAMES for part in parts):
        return None
    if len(parts) != PATH_PARTS:
        raise FileError("wrong_layout", f"files lie one folder deep: {layout}")
    if len(name) > MAX_PATH_CHARACTERS or len(parts[0]) > MAX_LABEL_CHARACTERS:
        raise FileError("path_too_long", f"at most {MAX_PATH_CHARACTERS} characters, {MAX_LABEL_CHARACTERS} of label")
    return "/".join(parts)


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    """Reads a member; `zipfile` never unpacks more than the declared size."""

    def read() -> bytes:
        if info.flag_bits & ENCRYPTED_FLAG:
            raise FileError("encrypted", "the file is encrypted")
        if info.file_size > MAX_FILE_BYTES:
            raise FileError("file_too_large", f"{info.file_size} bytes; at most {MAX_FILE_BYTES} are taken")
        try:
            return archive.read(info)
        except DomainError:  # the storage's: the parts are gone, or it does not answer
            raise
        except Exception as error:  # zlib, bz2, lzma and zipfile each raise their own
            raise FileError("corrupt_archive", f"the file cannot be unpacked: {error}") from error

    return read


def whole(file: IO[bytes]) -> bytes:
    """An upload that is one file. Raises FileError."""
    file.seek(0)
    content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise FileError("file_too_large", f"at most {MAX_FILE_BYTES} bytes are taken")
    return content


def _read_all(sources: Mapping[str, Source], known: Mapping[str, str]) -> list[ImageFile]:
    errors: list[Problem] = []
    images: list[ImageFile] = []
    # Unpacking, decoding and hashing let other threads run; batches keep the order and few pictures in memory.
    with ThreadPoolExecutor(READERS) as readers:
        waiting = iter(sources.items())
        while len(errors) < MAX_ERRORS and (batch := list(islice(waiting, READ_BATCH))):
            for outcome in readers.map(_read_one, batch):
                if isinstance(outcome, ImageFile):
                    images.append(outcome)
                else:
                    errors.append(outcome)
    if not errors:
        errors = conflicts(images, known)
    if errors:
        raise refused(errors)
    return images


def _read_one(named: tuple[str, Source]) -> ImageFile | Problem:
    path, (member, read) = named
    try:
        return read_image(path, read(), member=member)
    except FileError as error:
        return problem(path, error.code, str(error))


class Named(Protocol):
    """What goes under a path of a dataset."""

    @property
    def path(self) -> str:
        """In the dataset."""

    @property
    def sha256(self) -> str:
        """Of its content."""


def conflicts(files: Iterable[Named], known: Mapping[str, str]) -> list[Problem]:
    """Files whose path the dataset has with other content, as errors."""
    return [
        problem(file.path, "path_exists", "the dataset has other content under this path")
        for file in files
        if known.get(file.path, file.sha256) != file.sha256
    ]
