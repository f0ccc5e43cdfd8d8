import pytest
import torch

from worker.training.augmentation import build_augmentation
from worker.training.config import Augmentation, Hyperparameters
from worker.training.models import Architecture, parameter_count
from worker.training.precision import threads_for
from worker.training.schedule import learning_rate

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (1, 8, 8), (3, 40, 4), (3, 32, 32), (3, 50, 21), (1, 4, 4), (3, 224, 224)]
)
def test_any_image_shape_has_a_model(shape: tuple[int, int, int]) -> None:
    model = Architecture.of(Hyperparameters(), shape, 7).build().eval()
    assert model(torch.rand(2, *shape)).shape == (2, 7)
    assert parameter_count(model) < 5_000_000


def test_mnist_size_is_as_promised() -> None:
    model = Architecture.of(Hyperparameters(), (1, 28, 28), 10).build()
    assert 0.40e6 < parameter_count(model) < 0.45e6


def test_folding_changes_no_answer() -> None:
    torch.manual_seed(0)
    model = Architecture.of(Hyperparameters(width=8), (3, 16, 16), 4).build()
    images = torch.rand(16, 3, 16, 16)
    model.train()
    model(images)
    model.eval()
    before = model(images)
    model.fuse()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert torch.allclose(model(images), before, atol=1e-5)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.2])
def test_rates_stay_positive_and_below_the_top(schedule: str, warmup: float) -> None:
    settings = Hyperparameters(schedule=schedule, warmup=warmup, learning_rate=0.1)  # type: ignore[arg-type]  # a literal
    rates = [learning_rate(settings, step, 50) for step in range(1, 51)]
    assert all(0 <= rate <= 0.1 + 1e-12 for rate in rates)
    assert max(rates) > 0.09
    if schedule != "constant":
        assert rates[-1] < 1e-3


@pytest.mark.parametrize(
    ("side", "cpu_count", "threads"),
    [(28, 2.0, 1), (28, 64.0, 1), (96, 2.0, 2), (224, 4.0, 4), (224, 64.0, 12), (96, 0.5, 1)],
)
def test_threads_follow_the_work_of_a_step(side: int, cpu_count: float, threads: int) -> None:
    assert threads_for(64 * side * side * 32, cpu_count) == threads


def test_augmentation_moves_images_by_the_global_generator_and_keeps_their_form() -> None:
    images = torch.zeros((16, 1, 28, 28))
    images[:, :, 8:20, 12:16] = 1.0
    augmentation = build_augmentation(Augmentation(rotation_degrees=15, translate=0.1), (1, 28, 28))
    torch.manual_seed(5)
    once = augmentation(images)
    torch.manual_seed(5)
    again = augmentation(images)
    assert once.shape == images.shape
    assert torch.equal(once, again)
    moved = (once - images).abs().sum(dim=(1, 2, 3))
    assert (moved > 1).all()
    assert len({round(float(each), 3) for each in moved}) > 10
    # What was drawn is still there: an augmented digit has about the ink of the digit.
    assert (once.sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3)) - 1).abs().max() < 0.5
    off = build_augmentation(Augmentation(enabled=False), (1, 28, 28))
    assert torch.equal(off(images), images)


def test_crops_and_flips_are_of_the_original_size() -> None:
    images = torch.rand((4, 3, 20, 20))
    augmentation = build_augmentation(Augmentation(crop_padding=3, horizontal_flip=True), (3, 20, 20))
    assert augmentation(images).shape == images.shape
