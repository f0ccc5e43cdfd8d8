"""Job folders as the agent lays them out, filled with real digits."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from backend.core.wire import JobMessage, JobSpec

Message = TypeVar("Message")


@dataclass(frozen=True)
class LabelledImage:
    """pixels: uint8 [H, W] or [H, W, 3]."""

    pixels: NDArray[np.uint8]
    label: str
    split: str


def sklearn_digits(train: int, validation: int, test: int = 0) -> list[LabelledImage]:
    """The first of scikit-learn's 1,797 digits (8x8, shuffled with a fixed seed), as 8-bit images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    return [
        LabelledImage((digits.images[i] * (255 / 16)).astype(np.uint8), str(digits.target[i]), split)
        for i, split in zip(order[: len(splits)], splits, strict=True)
    ]


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_channel(folder: Path, images: Iterable[LabelledImage]) -> Path:
    """Manifest and blobs of a dataset channel."""
    rows = []
    for number, image in enumerate(images):
        content = png(image.pixels)
        digest = hashlib.sha256(content).hexdigest()
        blob = folder / "blobs" / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        rows.append(
            {
                "path": f"{image.label}/{number}.png",
                "sha256": digest,
                "size_bytes": len(content),
                "label": image.label,
                "split": image.split,
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


def write_spec(folder: Path, kind: str, parameters: dict[str, Any], resume_step: int | None = None) -> Path:
    """`spec.json` and an empty work folder."""
    spec = JobSpec(
        job_id="job-1",
        attempt_number=1 if resume_step is None else 2,
        job_kind=kind,
        parameters=parameters,
        channels={},
        resume_step=resume_step,
        cpu_count=1,
    )
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    return folder


@dataclass
class Told:
    """What a job process printed: its messages, and the other lines."""

    messages: list[JobMessage] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, output: str) -> "Told":
        told = cls()
        for line in output.splitlines():
            if line.startswith('{"type"'):
                told.messages.append(msgspec.json.decode(line, type=JobMessage))
            else:
                told.lines.append(line)
        return told

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in self.messages if isinstance(message, kind)]
