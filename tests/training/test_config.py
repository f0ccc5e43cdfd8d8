from typing import Any

import pytest

from worker.jobprocess import JobError
from worker.training.config import Hyperparameters, ImageTraining, TextTraining, read_parameters

pytestmark = pytest.mark.unit


def test_defaults_are_complete() -> None:
    parameters = read_parameters({"algorithm": "image-classification"})
    assert parameters.hyperparameters == Hyperparameters()


def test_nested_settings_are_read() -> None:
    parameters = read_parameters(
        {
            "algorithm": "image-classification",
            "hyperparameters": {"epochs": 3, "augmentation": {"rotation_degrees": 5}},
        }
    )
    assert parameters.hyperparameters.epochs == 3
    assert isinstance(parameters, ImageTraining)
    assert parameters.hyperparameters.augmentation.rotation_degrees == 5.0


@pytest.mark.parametrize(
    ("hyperparameters", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": "many"}, "epochs"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"dropout": 1}, "dropout"),
        ({"architecture": "huge"}, "architecture"),
        ({"augmentation": {"scale_minimum": 2}}, "augmentation.scale_minimum"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_a_wrong_field_is_named(hyperparameters: dict[str, Any], named: str) -> None:
    with pytest.raises(JobError, match=named) as raised:
        read_parameters({"algorithm": "image-classification", "hyperparameters": hyperparameters})
    assert raised.value.failure_class == "user_code"


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(JobError, match="algorithm"):
        read_parameters({"algorithm": "fortune-telling"})


def test_the_algorithm_says_which_settings_are_read() -> None:
    parameters = read_parameters({"algorithm": "text-classification", "hyperparameters": {"max_length": 64}})
    assert isinstance(parameters, TextTraining)
    assert parameters.hyperparameters.max_length == 64
    with pytest.raises(JobError, match="width"):
        read_parameters({"algorithm": "text-classification", "hyperparameters": {"width": 64}})
    with pytest.raises(JobError, match="fortune-telling"):
        read_parameters({"algorithm": "fortune-telling"})
