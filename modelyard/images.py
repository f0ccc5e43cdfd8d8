"""Images as an integrator handles them: archives of `label/name.png`, and raw pixels to send."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image


def write_archive(path: Path, images: Iterable[tuple[str, Image.Image]]) -> int:
    """A ZIP of PNGs, `label/number.png`; returns how many. The same images give the same bytes."""
    count = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for count, (label, image) in enumerate(images, 1):
            encoded = io.BytesIO()
            image.save(encoded, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{label}/{count:06d}.png"), encoded.getvalue())
    return count


def pixels(content: bytes) -> bytes:
    """Raw pixels of an encoded image, channels first: [C, H, W] uint8."""
    with Image.open(io.BytesIO(content)) as image:
        return b"".join(band.tobytes() for band in image.split())
