"""Images and labels of a dataset version, read once into memory as uint8.

Layout on disk (written by the agent): `manifest.parquet` with columns path, sha256, size_bytes, label, split,
and each image under `blobs/<first two hex digits>/<sha256>`. Images are PNG or JPEG, grayscale or colour, all
of one size; a dataset that has both gray and coloured images is read as coloured. Imports no torch:
compression reads too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from worker.jobprocess import JobError
from worker.training.images import SPLITS, ImageDataset, ImageFile, Split

MINIMUM_SIDE = 4
GRAY_MODES = {"1", "L", "LA"}
COLOUR_MODES = {"P", "RGB", "RGBA", "CMYK", "YCbCr"}


@dataclass(frozen=True)
class _Row:
    path: str
    sha256: str
    label: str
    split: str

    @property
    def file(self) -> ImageFile:
        return ImageFile(self.path, self.sha256)


def read_dataset(folder: Path) -> ImageDataset:
    """The dataset in `folder`. Raises JobError: user_code for unusable data, platform for a missing blob."""
    rows = _read_manifest(folder / "manifest.parquet")
    classes = sorted({row.label for row in rows})
    _check_usable(rows, classes)
    index = {label: number for number, label in enumerate(classes)}
    images = _stack(rows, list(_decoded(folder / "blobs", rows)))
    labels = np.array([index[row.label] for row in rows], dtype=np.int64)
    where = np.array([SPLITS.index(row.split) for row in rows])
    files = {name: [row.file for row in rows if row.split == name] for name in SPLITS}
    splits = {name: Split(images[where == i], labels[where == i], files[name]) for i, name in enumerate(SPLITS)}
    return ImageDataset(classes=classes, splits=splits)


def _read_manifest(path: Path) -> list[_Row]:
    try:
        table = pq.read_table(path, columns=["path", "sha256", "label", "split"])
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise JobError("platform", f"The dataset's manifest cannot be read: {error}") from error
    rows = []
    for values in table.to_pylist():
        if values["label"] is None:
            raise _bad(f"{values['path']} has no label.", "Label every image, or leave it out.")
        if values["split"] not in SPLITS:
            raise _bad(f"{values['path']} has the unknown split {values['split']!r}.", None)
        rows.append(_Row(**values))
    return rows


def _check_usable(rows: list[_Row], classes: list[str]) -> None:
    if len(classes) < 2:  # noqa: PLR2004 - telling classes apart takes two
        named = f"only the class {classes[0]!r}" if classes else "no images"
        raise _bad(f"The dataset has {named}.", "Classification needs images of at least two classes.")
    counts = {split: sum(row.split == split for row in rows) for split in SPLITS}
    if counts["train"] < 2:  # noqa: PLR2004 - batch normalisation needs two
        raise _bad(f"The dataset has {counts['train']} images to train on.", "Freeze it with a train split.")
    if counts["validation"] == 0:
        raise _bad("The dataset has no validation images.", "Freeze the version with a validation split.")


def _decoded(blobs: Path, rows: list[_Row]) -> Iterator[NDArray[np.uint8]]:
    """Each image as uint8 [H, W] or [H, W, 3]."""
    for row in rows:
        file = blobs / row.sha256[:2] / row.sha256
        try:
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                yield _pixels(image, row.path)
        except FileNotFoundError as error:
            raise JobError("platform", f"The blob of {row.path} is missing from the job's input.") from error
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise _bad(f"{row.path} is not a readable PNG or JPEG image.", "Remove or replace it.") from error


def _pixels(image: Image.Image, path: str) -> NDArray[np.uint8]:
    if image.mode in GRAY_MODES:
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode in COLOUR_MODES:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    raise _bad(f"{path} has the pixel format {image.mode}, not 8 bits per channel.", "Convert it to 8 bits.")


def _stack(rows: list[_Row], decoded: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 [N, C, H, W]; every image must have the size of the first."""
    height, width = decoded[0].shape[:2]
    if min(height, width) < MINIMUM_SIDE:
        raise _bad(f"The images are {width}x{height} pixels.", f"They need at least {MINIMUM_SIDE} each way.")
    channels = max(image.ndim for image in decoded)
    stacked = np.empty((len(decoded), 3 if channels == 3 else 1, height, width), np.uint8)  # noqa: PLR2004 - colours or axes
    for place, row, image in zip(stacked, rows, decoded, strict=True):
        if image.shape[:2] != (height, width):
            raise _bad(
                f"{row.path} is {image.shape[1]}x{image.shape[0]} pixels, {rows[0].path} is {width}x{height}.",
                "Bring all images to one size first.",
            )
        place[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)  # noqa: PLR2004 - colours or axes
    return stacked


def _bad(reason: str, hint: str | None) -> JobError:
    return JobError("user_code", reason, hint)
