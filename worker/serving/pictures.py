"""Encoded pictures → the tensor an image model takes: uint8 [1, C, H, W], decoded as training decodes them."""

import io
import struct
from typing import Final

import numpy as np

from worker.serving.errors import RequestError
from worker.serving.model import Array, Tensor

FORMATS: Final = ("PNG", "JPEG")
PIXELS_LIMIT: Final = 16_000_000
SCANS_LIMIT: Final = 100
SCAN: Final = b"\xff\xda"
"""Begins a scan of a JPEG; a progressive one has a dozen, and each costs a pass over the whole picture."""
SMALL_PIXELS: Final = 256 * 256
SMALL_BYTES: Final = 32 * 1024
PNG_HEAD: Final = struct.Struct(">8s4x4sII")
CHANNELS: Final = {1: "L", 3: "RGB"}
IMAGE_AXES: Final = 4


def is_small_png(body: bytes) -> bool:
    """Whether this is a PNG that is decoded in well under a millisecond, by what its head says."""
    if not PNG_HEAD.size <= len(body) <= SMALL_BYTES:
        return False
    magic, kind, width, height = PNG_HEAD.unpack_from(body)
    return bool(magic == b"\x89PNG\r\n\x1a\n" and kind == b"IHDR" and width * height <= SMALL_PIXELS)


def picture(body: bytes, tensor: Tensor) -> Array:
    """Decode one picture for `tensor` (UINT8 [-1, C, H, W]); a larger or smaller one is resized (bilinear).

    Raises RequestError 400: no picture of these formats, more than PIXELS_LIMIT pixels, an input that is none.
    """
    from PIL import Image  # noqa: PLC0415 - 5 MB that only endpoints with pictures need

    if len(tensor.shape) != IMAGE_AXES or tensor.datatype != "UINT8" or tensor.shape[1] not in CHANNELS:
        raise RequestError(415, f"input {tensor.name!r} takes no picture: it is not UINT8 [-1, 1 or 3, height, width]")
    mode = CHANNELS[tensor.shape[1]]
    if body.count(SCAN) > SCANS_LIMIT:
        raise RequestError(400, f"a picture may have {SCANS_LIMIT} scans")
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
            _check_size(*opened.size)
            size = (tensor.shape[3] or opened.width, tensor.shape[2] or opened.height)
            opened.draft(opened.mode, size)  # a JPEG far too large is decoded at a half, a quarter or an eighth
            decoded = opened.convert(mode)
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001  Pillow's readers raise errors of no common type
        raise RequestError(400, f"the request is no PNG or JPEG picture: {error}") from None
    if tensor.shape[3] is None or tensor.shape[2] is None:
        size = decoded.size
    if decoded.size != size:
        decoded = decoded.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(decoded, np.uint8)
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def _check_size(width: int, height: int) -> None:
    if width * height > PIXELS_LIMIT:
        raise RequestError(400, f"a picture may have {PIXELS_LIMIT:,} pixels, this has {width} x {height}")
