"""A learnable dataset made in memory: gratings in four directions, with noise. Needs numpy alone."""

import numpy as np
from numpy.typing import NDArray

from worker.training.images import ImageDataset, Split

DIRECTIONS = 4


def gratings(train: int, validation: int, side: int = 28, channels: int = 1) -> ImageDataset:
    """Images uint8 [N, channels, side, side]; the class is the direction of the stripes."""
    random = np.random.default_rng(0)
    return ImageDataset(
        classes=[str(direction) for direction in range(DIRECTIONS)],
        splits={
            "train": _split(random, train, side, channels),
            "validation": _split(random, validation, side, channels),
            "test": _split(random, 0, side, channels),
        },
    )


def _split(random: np.random.Generator, count: int, side: int, channels: int) -> Split:
    labels: NDArray[np.int64] = np.arange(count, dtype=np.int64) % DIRECTIONS
    angle = labels[:, None, None] * np.pi / DIRECTIONS
    rows, columns = np.mgrid[0:side, 0:side] * (2 * np.pi / 7)
    phase = random.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = np.sin(columns * np.cos(angle) + rows * np.sin(angle) + phase)
    pixels = 128 + 70 * wave + random.normal(0, 25, wave.shape)
    images = np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[:, None], channels, axis=1)
    return Split(images, labels)
