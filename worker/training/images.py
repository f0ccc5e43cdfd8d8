"""Images and labels in memory, as training and compression use them. Needs numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Where an image comes from: its path in the dataset version, and its blob."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Split:
    """images: uint8 [N, C, H, W], C = 1 or 3, or the tokens of texts, int64 [N, L], 0 where there is none.

    labels: int64 [N], indices into the dataset's classes. files: of each image; empty for images that come from no
    dataset, and for texts, of which many share a file.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    files: Sequence[ImageFile] = ()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A whole dataset version. `classes` are the sorted labels of all its rows; every split may be empty."""

    classes: list[str]
    splits: dict[str, Split]

    @property
    def tokenizer_file(self) -> bytes | None:
        """What made tokens of texts; None for images."""
        return None


@dataclass(frozen=True)
class ImageDataset(Dataset):
    """Images, all of one size."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.splits["train"].images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class TextDataset(Dataset):
    """Texts as tokens, all of one length; `tokenizer`: the file that says how they were made."""

    tokenizer: bytes

    @property
    def tokenizer_file(self) -> bytes | None:
        """Content of `tokenizer.json`."""
        return self.tokenizer
