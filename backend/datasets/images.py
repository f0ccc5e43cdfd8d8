"""Reading one image of hostile origin. Pure.

Its pixels are counted before it is decoded; then Pillow verifies it and decodes all of it. PNG and JPEG are taken,
and the extension must say which: it later names the media type. A small file may decode to hundreds of MiB, so few
large images are decoded at once in one process.
"""

import hashlib
import io
from contextlib import AbstractContextManager, nullcontext
from threading import BoundedSemaphore

import msgspec

from backend.datasets.problems import FileError

FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG"}
PARQUET = "application/vnd.apache.parquet"
CONTENT_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "parquet": PARQUET,
}
MAX_PIXELS = 64_000_000
LARGE_PIXELS = 4_000_000
_LARGE_AT_ONCE = BoundedSemaphore(2)


class ImageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A validated image of an upload. `member` names it in the archive; None = the upload is the image."""

    path: str
    label: str
    sha256: str
    size_bytes: int
    width: int
    height: int
    mode: str
    member: str | None


def content_type(path: str) -> str:
    """Media type of a dataset file by its path."""
    return CONTENT_TYPES.get(_extension(path), "application/octet-stream")


def read_image(path: str, content: bytes, *, member: str | None) -> ImageFile:
    """Validate one image by decoding all of it. `path` is `label/name.extension`. Raises FileError."""
    expected = FORMATS.get(_extension(path))
    if expected is None:
        raise FileError("unsupported_type", f"only {', '.join(FORMATS)} files are taken")
    try:
        found, mode, width, height = _decode(content)
    except FileError:
        raise
    except Exception as error:  # a decoder fed hostile bytes raises almost anything
        raise FileError("not_an_image", f"this is no readable image: {error}") from error
    if found != expected:
        raise FileError("wrong_extension", f"the content is {found}, the name says {expected}")
    return ImageFile(
        path=path,
        label=path.partition("/")[0],
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        width=width,
        height=height,
        mode=mode,
        member=member,
    )


def _decode(content: bytes) -> tuple[str | None, str, int, int]:
    """Format, mode, width and height of an image that is whole."""
    from PIL import Image  # noqa: PLC0415 - 5 MB that only uploads of images need

    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise FileError("too_many_pixels", f"{width} by {height} pixels; at most {MAX_PIXELS} are taken")
        image.verify()
    # verify() checks checksums and leaves the image unusable; only load() decodes.
    with _turn(width * height), Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        image.load()
        return image.format, image.mode, width, height


def _turn(pixels: int) -> AbstractContextManager[object]:
    return _LARGE_AT_ONCE if pixels > LARGE_PIXELS else nullcontext()


def _extension(path: str) -> str:
    return path.rpartition(".")[2].lower()
