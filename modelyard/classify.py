"""One image file to an endpoint, and its scores as classes with probabilities."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, UnidentifiedImageError

from modelyard.errors import FileUnusable
from modelyard.inference import InferenceClient

_MODES = {1: "L", 3: "RGB"}


class LabelProbability(msgspec.Struct, frozen=True):
    """A class and how likely it is, 0 to 1."""

    label: str
    probability: float


class Classification(msgspec.Struct, frozen=True):
    """Which variant answered, how long it took here (network included), the classes, likeliest first."""

    variant: str
    milliseconds: float
    classes: list[LabelProbability]


def classify(
    inference: InferenceClient,
    endpoint: str,
    signature: Mapping[str, Any],
    image: Path,
    *,
    variant: str | None = None,
    resize: bool = False,
) -> Classification:
    """Ask an endpoint whose model versions have this signature. Raises FileUnusable, ApiError, ConnectionFailed."""
    entry = signature["inputs"][0]
    shape = [1, *entry["shape"][1:]]
    raw = read_pixels(image, shape[1:], resize=resize)
    started = time.monotonic()
    answer = inference.infer(
        endpoint, name=entry["name"], shape=shape, datatype=entry["datatype"], raw=raw, target_variant=variant
    )
    elapsed = (time.monotonic() - started) * 1000
    scores = answer.output(signature["outputs"][0]["name"])
    return Classification(answer.variant, elapsed, _likeliest(scores, signature["classes"]))


def read_pixels(path: Path, shape: Sequence[int], *, resize: bool = False) -> bytes:
    """The pixels of an image file as uint8 [channels, height, width]. Raises FileUnusable."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            image = opened.convert(_MODES[channels])
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise FileUnusable(f"{path} is not an image that can be read: {error}") from error
    if image.size != (width, height):
        if not resize:
            found = f"{image.size[0]}x{image.size[1]}"
            raise FileUnusable(f"{path} has {found} pixels, the model takes {width}x{height}: resize it first")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return b"".join(band.tobytes() for band in image.split())


def _likeliest(scores: Sequence[float], classes: Sequence[str]) -> list[LabelProbability]:
    """Softmax of the scores, largest first."""
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    whole = sum(weights)
    found = [LabelProbability(name, weight / whole) for name, weight in zip(classes, weights, strict=True)]
    return sorted(found, key=lambda one: -one.probability)
