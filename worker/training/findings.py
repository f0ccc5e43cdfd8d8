"""What a classifier gets right and wrong on a split, as `evaluation.json` tells it. Needs numpy alone.

The document is of bounded size whatever the data is: counts and figures by class for at most `MAX_CLASSES` classes,
the `MAX_MISTAKES` worst mistakes, the `MAX_PROBABILITIES` highest probabilities of each.
"""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.training.images import Dataset, Split

FILE = "evaluation.json"
MAX_CLASSES = 200
MAX_MISTAKES = 32
MAX_PROBABILITIES = 5
DIGITS = 6
"""Of a written probability or share: a resumed training writes the same file."""


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One class. precision: right among those predicted so; recall: right among its images; None: there are none.

    f1: 0 where nothing is right.
    """

    label: str
    images: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float


class Probability(msgspec.Struct, frozen=True, kw_only=True):
    """What the model gives one class, in [0, 1]."""

    label: str
    probability: float


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is taken for another class. sha256, path: of its file in the dataset version.

    probabilities: the highest, descending, and at last the true class's where it is not among them.
    """

    sha256: str
    path: str
    truth: str
    prediction: str
    confidence: float
    probabilities: list[Probability]


class EvaluationFile(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `evaluation.json`.

    matrix: counts by [truth][prediction] in the order of `classes`. With more than `MAX_CLASSES` classes both are
    empty, and `per_class` has those with the lowest f1. mistakes: the worst, most confident first, of images that are
    files; `mistake_count` counts all.
    """

    format: int = 1
    split: str
    images: int
    accuracy: float
    class_count: int
    classes: list[str]
    matrix: list[list[int]]
    per_class: list[ClassFigures]
    mistake_count: int
    mistakes: list[Mistake]


class _Wrong(msgspec.Struct, frozen=True):
    """A mistake before it has words: which image, and its probabilities [classes]."""

    index: int
    probabilities: NDArray[np.float64]


def held_out(splits: dict[str, Split]) -> str:
    """The split that says most about new images: `test` where there is one, else `validation`."""
    return "test" if len(splits["test"]) else "validation"


class Findings:
    """Collects, batch after batch in the split's order, what `EvaluationFile` tells."""

    def __init__(self, name: str, split: Split, classes: list[str]) -> None:
        self._name = name
        self._split = split
        self._classes = classes
        self._matrix = np.zeros((len(classes), len(classes)), np.int64)
        self._worst: list[_Wrong] = []
        self._seen = 0

    @classmethod
    def of(cls, dataset: Dataset) -> "Findings":
        """Those of the dataset's held-out split."""
        name = held_out(dataset.splits)
        return cls(name, dataset.splits[name], dataset.classes)

    def add(self, logits: NDArray[np.float32]) -> None:
        """The model's answers to the next images: float [B, classes]."""
        labels = self._split.labels[self._seen : self._seen + len(logits)]
        predicted = logits.argmax(1)
        np.add.at(self._matrix, (labels, predicted), 1)
        wrong = np.flatnonzero(predicted != labels)
        probabilities = _softmax(logits[wrong])
        kept = np.argsort(-probabilities.max(1, initial=0), kind="stable")[:MAX_MISTAKES]
        self._worst += [_Wrong(self._seen + int(wrong[place]), probabilities[place]) for place in kept]
        self._worst.sort(key=lambda one: -one.probabilities.max())
        del self._worst[MAX_MISTAKES:]
        self._seen += len(logits)

    def document(self) -> EvaluationFile:
        """All of it. Every image of the split was added."""
        right = int(self._matrix.trace())
        small = len(self._classes) <= MAX_CLASSES
        figures = [self._figures(index) for index in range(len(self._classes))]
        return EvaluationFile(
            split=self._name,
            images=self._seen,
            accuracy=right / self._seen,
            class_count=len(self._classes),
            classes=self._classes if small else [],
            matrix=self._matrix.tolist() if small else [],
            per_class=figures if small else sorted(figures, key=lambda one: one.f1)[:MAX_CLASSES],
            mistake_count=self._seen - right,
            mistakes=[self._mistake(one) for one in self._worst] if self._split.files else [],
        )

    def write(self, folder: Path) -> EvaluationFile:
        """Put `evaluation.json` into an artifact; returns what it says."""
        found = self.document()
        (folder / FILE).write_bytes(msgspec.json.encode(found))
        return found

    def _figures(self, index: int) -> ClassFigures:
        right = int(self._matrix[index, index])
        images, predicted = int(self._matrix[index].sum()), int(self._matrix[:, index].sum())
        return ClassFigures(
            label=self._classes[index],
            images=images,
            predicted=predicted,
            precision=round(right / predicted, DIGITS) if predicted else None,
            recall=round(right / images, DIGITS) if images else None,
            f1=round(2 * right / (images + predicted), DIGITS) if right else 0.0,
        )

    def _mistake(self, wrong: _Wrong) -> Mistake:
        file = self._split.files[wrong.index]
        truth = int(self._split.labels[wrong.index])
        order = np.argsort(-wrong.probabilities, kind="stable")[:MAX_PROBABILITIES].tolist()
        shown = order if truth in order else [*order, truth]
        return Mistake(
            sha256=file.sha256,
            path=file.path,
            truth=self._classes[truth],
            prediction=self._classes[order[0]],
            confidence=round(float(wrong.probabilities[order[0]]), DIGITS),
            probabilities=[
                Probability(label=self._classes[one], probability=round(float(wrong.probabilities[one]), DIGITS))
                for one in shown
            ],
        )


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities over the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True, initial=-np.inf))
    summed: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
    return summed
