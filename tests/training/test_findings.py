"""`evaluation.json`: its counts are those of the answers, on real digits; and it stays small."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from backend.core.ids import new_id
from tests.training.folders import sklearn_digits, write_channel
from worker.training.data import read_dataset
from worker.training.findings import FILE, MAX_CLASSES, MAX_MISTAKES, Findings
from worker.training.images import ImageDataset, ImageFile, Split

pytestmark = pytest.mark.unit
BATCH = 64


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """100 digits to learn from: few, so that mistakes are made; 500 to answer."""
    return read_dataset(write_channel(tmp_path_factory.mktemp("findings"), sklearn_digits(100, 60, 500)))


@pytest.fixture(scope="module")
def logits(digits: ImageDataset) -> NDArray[np.float32]:
    """What a linear model answers to the test split."""
    flat = {name: split.images.reshape(len(split), -1) / 255 for name, split in digits.splits.items()}
    model = LogisticRegression(max_iter=200).fit(flat["train"], digits.splits["train"].labels)
    found: NDArray[np.float32] = model.decision_function(flat["test"]).astype(np.float32)
    return found


def collected(dataset: ImageDataset, logits: NDArray[np.float32]) -> Findings:
    findings = Findings.of(dataset)
    for start in range(0, len(logits), BATCH):
        findings.add(logits[start : start + BATCH])
    return findings


def test_counts_and_figures_are_those_of_the_answers(digits: ImageDataset, logits: NDArray[np.float32]) -> None:
    found = collected(digits, logits).document()
    truth, predicted = digits.splits["test"].labels, logits.argmax(1)
    assert (found.split, found.images) == ("test", 500)
    assert found.classes == [str(digit) for digit in range(10)]
    counts = Counter(zip(truth.tolist(), predicted.tolist(), strict=True))
    assert found.matrix == [[counts[row, column] for column in range(10)] for row in range(10)]
    assert found.accuracy == (truth == predicted).mean()
    for index, one in enumerate(found.per_class):
        right = int(((truth == index) & (predicted == index)).sum())
        assert (one.label, one.images, one.predicted) == (
            str(index),
            (truth == index).sum(),
            (predicted == index).sum(),
        )
        assert one.precision == pytest.approx(right / one.predicted, abs=1e-6)
        assert one.recall == pytest.approx(right / one.images, abs=1e-6)
        assert one.precision is not None
        assert one.recall is not None
        assert one.f1 == pytest.approx(2 / (1 / one.precision + 1 / one.recall), abs=1e-5)


def test_the_worst_mistakes_are_the_most_confident_ones(digits: ImageDataset, logits: NDArray[np.float32]) -> None:
    found = collected(digits, logits).document()
    test = digits.splits["test"]
    wrong = np.flatnonzero(logits.argmax(1) != test.labels)
    assert found.mistake_count == len(wrong) > MAX_MISTAKES == len(found.mistakes)
    shifted = np.exp(logits.astype(np.float64))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    worst = wrong[np.argsort(-probabilities[wrong].max(1))][:MAX_MISTAKES]
    assert [one.sha256 for one in found.mistakes] == [test.files[place].sha256 for place in worst]
    for one, place in zip(found.mistakes, worst, strict=True):
        assert one.truth == digits.classes[test.labels[place]] == one.path.partition("/")[0]
        assert one.prediction == digits.classes[int(logits[place].argmax())] != one.truth
        assert one.confidence == pytest.approx(probabilities[place].max(), abs=1e-6)
        assert one.truth in {each.label for each in one.probabilities}
        assert one.probabilities[0].label == one.prediction


def test_batches_make_no_difference(digits: ImageDataset, logits: NDArray[np.float32], tmp_path: Path) -> None:
    whole = Findings.of(digits)
    whole.add(logits)
    for name, findings in (("whole", whole), ("batches", collected(digits, logits))):
        (tmp_path / name).mkdir()
        findings.write(tmp_path / name)
    assert (tmp_path / "whole" / FILE).read_bytes() == (tmp_path / "batches" / FILE).read_bytes()


def test_a_class_nobody_shows_or_predicts_has_no_shares_and_no_mistakes_are_none() -> None:
    split = Split(np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]), [ImageFile("a", "0"), ImageFile("b", "1")])
    findings = Findings("validation", split, ["a", "b", "never"])
    findings.add(np.array([[9, 0, 0], [0, 9, 0]], np.float32))
    found = findings.document()
    assert (found.accuracy, found.mistake_count, found.mistakes) == (1.0, 0, [])
    never = found.per_class[2]
    assert (never.images, never.predicted, never.precision, never.recall, never.f1) == (0, 0, None, None, 0.0)


def test_many_classes_with_long_names_leave_the_file_small(tmp_path: Path) -> None:
    classes = [f"{number:04d}{'x' * 124}" for number in range(2000)]
    random = np.random.default_rng(0)
    count = 4000
    files = [ImageFile(f"{'d' * 500}/{number}.png", new_id().hex * 2) for number in range(count)]
    split = Split(np.zeros((count, 1, 4, 4), np.uint8), random.integers(0, 2000, count), files)
    findings = Findings("test", split, classes)
    findings.add(random.normal(0, 1, (count, 2000)).astype(np.float32))
    findings.write(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 250_000
    found = json.loads((tmp_path / FILE).read_text())
    assert found["class_count"] == 2000
    assert (found["classes"], found["matrix"]) == ([], [])
    assert len(found["per_class"]) == MAX_CLASSES
    assert len(found["mistakes"]) == MAX_MISTAKES
