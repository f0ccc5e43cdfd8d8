from pathlib import Path

import numpy as np
import pytest

from tests.training.folders import LabelledImage, sklearn_digits, write_channel
from worker.jobprocess import JobError
from worker.training.data import read_dataset

pytestmark = pytest.mark.unit


def gray(label: str, split: str, side: int = 8) -> LabelledImage:
    return LabelledImage(np.full((side, side), 7, np.uint8), label, split)


def colour(label: str, split: str) -> LabelledImage:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0] = 200
    return LabelledImage(pixels, label, split)


def test_pixels_labels_and_splits_survive(tmp_path: Path) -> None:
    images = sklearn_digits(30, 10, 5)
    dataset = read_dataset(write_channel(tmp_path, images))
    assert dataset.image_shape == (1, 8, 8)
    assert [len(dataset.splits[name]) for name in ("train", "validation", "test")] == [30, 10, 5]
    validation = dataset.splits["validation"]
    assert np.array_equal(validation.images[3, 0], images[33].pixels)
    assert dataset.classes[validation.labels[3]] == images[33].label


def test_classes_are_the_sorted_labels_of_the_whole_manifest(tmp_path: Path) -> None:
    rows = [gray("b", "train"), gray("c", "train"), gray("a", "test"), gray("b", "validation")]
    assert read_dataset(write_channel(tmp_path, rows)).classes == ["a", "b", "c"]


def test_gray_among_coloured_becomes_coloured(tmp_path: Path) -> None:
    rows = [colour("a", "train"), gray("b", "train"), gray("a", "validation")]
    dataset = read_dataset(write_channel(tmp_path, rows))
    assert dataset.image_shape == (3, 8, 8)
    train = dataset.splits["train"].images
    assert train[0, :, 0, 0].tolist() == [200, 0, 0]
    assert train[1, :, 0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([gray("a", "train"), gray("a", "train"), gray("a", "validation")], "only the class 'a'"),
        ([gray("a", "train"), gray("b", "train")], "no validation images"),
        ([gray("a", "validation"), gray("b", "validation")], "0 images to train on"),
        ([gray("a", "train"), gray("b", "train", 9), gray("a", "validation")], "9x9 pixels"),
        ([gray("a", "train", 3), gray("b", "train", 3), gray("a", "validation", 3)], "3x3 pixels"),
        ([gray("a", "train"), gray("b", "train"), gray("a", "holdout")], "unknown split 'holdout'"),
    ],
)
def test_unusable_data_is_the_users(rows: list[LabelledImage], reason: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=reason) as raised:
        read_dataset(write_channel(tmp_path, rows))
    assert raised.value.failure_class == "user_code"


def test_a_blob_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_channel(tmp_path, sklearn_digits(4, 2))
    blob = next(path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"no image at all")
    with pytest.raises(JobError, match=r"\d/\d\.png is not a readable PNG or JPEG") as raised:
        read_dataset(tmp_path)
    assert raised.value.failure_class == "user_code"


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    write_channel(tmp_path, sklearn_digits(4, 2))
    blob = next(path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(blob.read_bytes()[:60])
    with pytest.raises(JobError, match="not a readable"):
        read_dataset(tmp_path)


def test_a_missing_blob_is_the_platforms(tmp_path: Path) -> None:
    write_channel(tmp_path, sklearn_digits(4, 2))
    next(path for path in (tmp_path / "blobs").rglob("*") if path.is_file()).unlink()
    with pytest.raises(JobError, match="missing") as raised:
        read_dataset(tmp_path)
    assert raised.value.failure_class == "platform"
