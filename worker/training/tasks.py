"""What the trainer does otherwise for images than for texts."""

from dataclasses import dataclass

from torch import nn

from worker.training.augmentation import build_augmentation
from worker.training.config import Hyperparameters, Settings, TextHyperparameters
from worker.training.encoders import EncoderArchitecture, TextClassifier
from worker.training.images import Dataset, ImageDataset, TextDataset
from worker.training.models import Architecture, SmallCnn
from worker.training.precision import threads_for

Classifier = SmallCnn | TextClassifier
ENCODER_VALUES = 6 * 1536
"""Between the two products of all layers of the smallest encoder, for each token."""


@dataclass(frozen=True)
class ImageTask:
    """A convolutional network on augmented images."""

    settings: Hyperparameters
    dataset: ImageDataset
    items: str = "images"

    @property
    def architecture(self) -> Architecture:
        """What to build."""
        return Architecture.of(self.settings, self.dataset.image_shape, len(self.dataset.classes))

    def threads(self, cpu_count: float) -> int:
        """How many a step is worth."""
        _, height, width = self.dataset.image_shape
        return threads_for(self.settings.batch_size * height * width * self.settings.width, cpu_count)

    def augmentation(self) -> nn.Module:
        """Random changes to a batch of images."""
        return build_augmentation(self.settings.augmentation, self.dataset.image_shape)


@dataclass(frozen=True)
class TextTask:
    """A pretrained encoder on tokens."""

    settings: TextHyperparameters
    dataset: TextDataset
    items: str = "texts"

    @property
    def architecture(self) -> EncoderArchitecture:
        """What to build. Raises JobError (user_code) where the encoder is not installed."""
        return EncoderArchitecture.of(self.settings, len(self.dataset.classes))

    def threads(self, cpu_count: float) -> int:
        """How many a step is worth: as for images, by the values between two operators, of all layers together."""
        return threads_for(self.settings.batch_size * self.settings.max_length * ENCODER_VALUES, cpu_count)

    def augmentation(self) -> nn.Module:
        """None."""
        return nn.Identity()


@dataclass(frozen=True)
class Built:
    """A model that is there already, to be trained on."""

    architecture: Architecture | EncoderArchitecture
    model: Classifier


def task_of(settings: Settings, dataset: Dataset) -> ImageTask | TextTask:
    """The task of these settings; the dataset is of their kind."""
    if isinstance(settings, TextHyperparameters) and isinstance(dataset, TextDataset):
        return TextTask(settings, dataset)
    if isinstance(settings, Hyperparameters) and isinstance(dataset, ImageDataset):
        return ImageTask(settings, dataset)
    raise TypeError(f"{type(settings).__name__} do not train on a {type(dataset).__name__}")
