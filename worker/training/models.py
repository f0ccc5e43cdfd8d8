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
WIDEST = 256


@dataclass(frozen=True)
class Architecture:
    """What fixes the shape of a model: enough to build it again around saved weights."""

    name: str
    image_shape: tuple[int, int, int]
    classes: int
    width: int
    hidden: int
    dropout: float

    @classmethod
    def of(
        cls, hyperparameters: Hyperparameters, image_shape: tuple[int, int, int], classes: int
    ) -> "Architecture":
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
    """Blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 maximum; then two linear layers.

    Two blocks (0.42 M parameters for 28x28 gray images), more where the map would stay larger than 8x8.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels, height, width = architecture.image_shape
        widths = _block_widths(architecture.width, max(height, width))
        blocks = []
        for block_width in widths:
            blocks.append(Block(channels, block_width))
            channels = block_width
        factor = 2 ** len(widths)
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(architecture.dropout)
        self.hidden = nn.Linear(channels * (height // factor) * (width // factor), architecture.hidden)
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
    """3x3 convolution, batch normalisation, ReLU, 2x2 maximum: [N, C, H, W] → [N, width, H/2, W/2]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Half the height and width."""
        return functional.max_pool2d(functional.relu(self.norm(self.convolution(maps))), 2)


def _block_widths(first: int, side: int) -> list[int]:
    """Two blocks at least; another while the map is larger than 8 and can be halved. Widths double up to
    256.
    """
    widths = [first, min(2 * first, max(first, WIDEST))]
    while side // 2 ** len(widths) > LARGEST_MAP:
        widths.append(min(2 * widths[-1], max(first, WIDEST)))
    return widths


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
