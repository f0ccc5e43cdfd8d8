"""Encoded pictures → the tensor an image model takes: uint8 [1, C, H, W], decoded as training decodes them."""

import io
from typing import Final

import numpy as np

from worker.serving.errors import RequestError
from worker.serving.model import Array, Tensor

FORMATS: Final = ("PNG", "JPEG")
PIXELS_LIMIT: Final = 16_000_000
CHANNELS: Final = {1: "L", 3: "RGB"}
IMAGE_AXES: Final = 4


def picture(body: bytes, tensor: Tensor) -> Array:
    """Decode one picture for `tensor` (UINT8 [-1, C, H, W]); a larger or smaller one is resized (bilinear).

    Raises RequestError 400: no picture of these formats, more than PIXELS_LIMIT pixels, an input that is none.
    """
    from PIL import Image  # noqa: PLC0415 - 5 MB that only endpoints with pictures need

    if len(tensor.shape) != IMAGE_AXES or tensor.datatype != "UINT8" or tensor.shape[1] not in CHANNELS:
        raise RequestError(415, f"input {tensor.name!r} takes no picture: it is not UINT8 [-1, 1 or 3, height, width]")
    mode = CHANNELS[tensor.shape[1]]
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > PIXELS_LIMIT:
                raise RequestError(400, f"a picture may have {PIXELS_LIMIT:,} pixels, this has {width} x {height}")
            size = (tensor.shape[3] or width, tensor.shape[2] or height)
            opened.draft(opened.mode, size)  # a JPEG far too large is decoded at a half, a quarter or an eighth
            decoded = opened.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestError(400, f"the request is no PNG or JPEG picture: {error}") from None
    if tensor.shape[3] is None or tensor.shape[2] is None:
        size = decoded.size
    if decoded.size != size:
        decoded = decoded.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(decoded, np.uint8)
    pixels = pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])
