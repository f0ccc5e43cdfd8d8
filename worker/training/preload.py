"""Everything a training needs, loaded and used once: what a standby does while it waits for its job.

The step on noise is what `Trainer` itself does, so whatever torch, oneDNN and kornia load, compile or allocate at their
first use is there. It leaves nothing that a training could see: a trainer seeds torch's generator and sets threads and
backends by itself.
"""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from backend.core.wire import JobSpec
from worker.jobprocess import JobProcess
from worker.training.config import Hyperparameters
from worker.training.evaluation import evaluate
from worker.training.images import SPLITS, ImageDataset, Split
from worker.training.job import train_and_export
from worker.training.trainer import Trainer

__all__ = ["preload", "train_and_export"]

SIDE = 28
COUNT = 64


def preload() -> None:
    """Decode an image, read a table, take a step, measure once."""
    _decode()
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (COUNT, 1, SIDE, SIDE), dtype=np.uint8)
    split = Split(images, np.arange(COUNT, dtype=np.int64) % 2)
    dataset = ImageDataset(classes=["a", "b"], splits=dict.fromkeys(SPLITS, split))
    trainer = Trainer(JobProcess(_spec(), Path(), None), Hyperparameters(), dataset)
    trainer.model.train()
    for _ in range(2):
        trainer.step(torch.arange(COUNT))
    evaluate(trainer.model, trainer.validation, trainer.compute)


def _spec() -> JobSpec:
    return JobSpec(
        job_id="", attempt_number=1, job_kind="training", parameters={}, channels={}, resume_step=None, cpu_count=1.0
    )


def _decode() -> None:
    for name in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.new("L", (SIDE, SIDE)).save(file, name)
        with Image.open(io.BytesIO(file.getvalue()), formats=("PNG", "JPEG")) as image:
            np.asarray(image)
    table = io.BytesIO()
    pq.write_table(pa.table({"path": ["a"]}), table)
    pq.read_table(io.BytesIO(table.getvalue())).to_pylist()
