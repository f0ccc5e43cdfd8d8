"""A split on its way to the device: resident there when it is small, sent batch by batch when not."""

import torch
from torch import Tensor

from worker.training.images import Split

RESIDENT_SHARE = 0.25


class DeviceSplit:
    """Images uint8 [N, C, H, W] or tokens int64 [N, L], and labels int64 [N]; batches come out on `device`, images as
    floats in [0, 1].
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self._device = device
        self.count = len(split)
        images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
        if device.type == "cuda":
            if images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
                images, labels = images.to(device), labels.to(device)
            else:
                images, labels = images.pin_memory(), labels.pin_memory()
        self._images, self._labels = images, labels

    def order(self, seed: int, epoch: int) -> Tensor:
        """The order of the images in `epoch`, int64 [N]: a function of seed and epoch, so it needs no
        state.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(self.count, generator=generator).to(self._images.device)

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images float32 [B, C, H, W] or tokens int64 [B, L], labels int64 [B]."""
        images = self._images[indices].to(self._device, non_blocking=True)
        labels = self._labels[indices].to(self._device, non_blocking=True)
        return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images, labels
