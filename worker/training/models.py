"""Architectures. Every model takes float images in [0, 1], [N, C, H, W], and answers logits [N, classes].

Normalisation beyond the factor 1/255 is the first batch normalisation's work: it folds into the convolution,
and a zero that pads the convolution stays an exact zero of the uint8 image, which static quantization can use
directly.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from worker.training.config import Hyperparameters

LARGEST_MAP = 8
FEWEST_BLOCKS = 2
WIDEST = 256


@dataclass(frozen=True)
class Architecture:
    """What fixes the shape of a model: enough to build it again around saved weights.

    channels: of each convolution, where pruning has left other numbers than `width` doubled again and again.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    width: int
    hidden: int
    dropout: float
    channels: tuple[int, ...] = ()

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, image_shape: tuple[int, int, int], classes: int) -> "Architecture":
        """The architecture that the hyperparameters ask for."""
        return cls(
            name=hyperparameters.architecture,
            image_shape=image_shape,
            classes=classes,
            width=hyperparameters.width,
            hidden=hyperparameters.hidden,
            dropout=hyperparameters.dropout,
        )

    def build(self) -> "SmallCnn":
        """A new model with random weights (torch's global generator)."""
        return SmallCnn(self)


class SmallCnn(nn.Module):
    """A 5x5 convolution in steps of 2, a 3x3 convolution and a 2x2 maximum, two linear layers.

    0.43 M parameters for 28x28 gray images. A 5x5 stem that halves the map itself does 0.6 of the work of a
    3x3 one before a maximum, at the same accuracy. Larger images get more 3x3 blocks, until the map is 8x8 or
    less.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels, height, width = architecture.image_shape
        pruned = architecture.channels
        out = pruned[0] if pruned else architecture.width
        blocks: list[Block] = [Block(channels, out, kernel=5, stride=2)]
        height, width = -(-height // 2), -(-width // 2)
        while len(blocks) < FEWEST_BLOCKS or max(height, width) > LARGEST_MAP:
            channels, out = out, pruned[len(blocks)] if pruned else min(2 * out, max(out, WIDEST))
            blocks.append(Block(channels, out, kernel=3, stride=1))
            height, width = max(1, height // 2), max(1, width // 2)
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(architecture.dropout)
        self.hidden = nn.Linear(out * height * width, architecture.hidden)
        self.head = nn.Linear(architecture.hidden, architecture.classes)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] → logits [N, classes]."""
        features = torch.flatten(self.blocks(images), 1)
        hidden = functional.relu(self.hidden(self.dropout(features)))
        logits: Tensor = self.head(self.dropout(hidden))
        return logits

    def fuse(self) -> None:
        """Fold each batch normalisation into its convolution, in place; for a model that only infers."""
        for block in self.blocks:
            if isinstance(block, Block) and isinstance(block.norm, nn.BatchNorm2d):
                block.convolution = fuse_conv_bn_eval(block.convolution, block.norm)
                block.norm = nn.Identity()


class Block(nn.Module):
    """Convolution, batch normalisation, ReLU, and a 2x2 maximum where the convolution halves nothing itself.

    [N, channels, H, W] → [N, width, H/2, W/2]; a side of one pixel stays.
    """

    def __init__(self, channels: int, width: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(width)
        self.halved = stride > 1

    def forward(self, maps: Tensor) -> Tensor:
        """Half the height and width."""
        maps = functional.relu(self.norm(self.convolution(maps)))
        if self.halved:
            return maps
        return functional.max_pool2d(maps, (min(2, maps.shape[-2]), min(2, maps.shape[-1])))


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
