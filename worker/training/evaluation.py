"""How good a model is on a split."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.training.batches import DeviceSplit
from worker.training.precision import Compute

BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """loss: mean cross-entropy in nats. accuracy: fraction. confusion: int64 [true, predicted], counts."""

    loss: float
    accuracy: float
    confusion: Tensor


@torch.no_grad()
def evaluate(model: nn.Module, split: DeviceSplit, classes: int, compute: Compute) -> Evaluation:
    """Measure `model` on `split`, which is not empty. Leaves the model in evaluation mode."""
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=compute.device)
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=compute.device)
    for start in range(0, split.count, BATCH):
        images, labels = split.batch(slice(start, start + BATCH))
        with compute.autocast():
            logits = model(images)
        loss += functional.cross_entropy(logits.float(), labels, reduction="sum")
        confusion.scatter_add_(0, labels * classes + logits.argmax(1), torch.ones_like(labels))
    table = confusion.view(classes, classes).cpu()
    return Evaluation(
        loss=float(loss) / split.count,
        accuracy=float(table.diagonal().sum()) / split.count,
        confusion=table,
    )
