"""How good a model is on a split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from worker.training.batches import DeviceSplit
from worker.training.precision import Compute

BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """loss: mean cross-entropy in nats. accuracy: fraction."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: DeviceSplit,
    compute: Compute,
    *,
    each: Callable[[NDArray[np.float32]], None] | None = None,
) -> Evaluation:
    """Measure `model` on `split`, which is not empty. Leaves the model in evaluation mode.

    `each` gets the logits, float32 [B, classes], of one batch after the other.
    """
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=compute.device)
    right = torch.zeros((), dtype=torch.int64, device=compute.device)
    for start in range(0, split.count, BATCH):
        images, labels = split.batch(slice(start, start + BATCH))
        with compute.autocast():
            logits = model(images)
        if each is not None:
            each(logits.float().cpu().numpy())
        loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
        right += (logits.argmax(1) == labels).sum()
    return Evaluation(loss=float(loss) / split.count, accuracy=int(right) / split.count)
