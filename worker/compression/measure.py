"""How large, how right and how fast models are, compared with each other in the same minutes on one
thread.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from worker.compression.gate import Measured
from worker.training.images import Split

BATCH = 32
ROUNDS = 200
WARM_UP = 10
LONGEST_SECONDS = 10.0
ACCURACY_BATCH = 250
ACCURACY_VALUES = 8192
"""Of a batch of tokens, at most: attention holds their square."""


def open_session(path: Path) -> ort.InferenceSession:
    """A session on one thread, as a replica's process runs it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predictions(session: ort.InferenceSession, images: NDArray[Any]) -> NDArray[np.int64]:
    """Class index of each image [N, C, H, W] or text [N, L]."""
    return np.concatenate([batch.argmax(1) for batch in answers(session, images)])


def answers(session: ort.InferenceSession, images: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
    """Logits [B, classes] of the images [N, C, H, W] or texts [N, L], batch after batch."""
    name = session.get_inputs()[0].name
    size = max(1, ACCURACY_VALUES // images.shape[1]) if images.ndim == 2 else ACCURACY_BATCH  # noqa: PLR2004 - tokens
    for start in range(0, len(images), size):
        yield session.run(None, {name: images[start : start + size]})[0]


def accuracy(path: Path, split: Split) -> float:
    """Share of `split`, which is not empty, that the model gets right."""
    return float((predictions(open_session(path), split.images) == split.labels).sum()) / len(split)


def measure(paths: dict[str, Path], split: Split, known: dict[str, float]) -> dict[str, Measured]:
    """Measure the size and speed of each named model on inputs of `split`, which is not empty; accuracies are known."""
    sessions = {name: open_session(path) for name, path in paths.items()}
    single = median_seconds(sessions, split.images[:1])
    many = split.images[np.arange(BATCH) % len(split)]
    batched = median_seconds(sessions, many)
    return {
        name: Measured(
            size_bytes=path.stat().st_size,
            latency_ms=single[name] * 1000,
            throughput=BATCH / batched[name],
            accuracy=known[name],
        )
        for name, path in paths.items()
    }


def median_seconds(sessions: dict[str, ort.InferenceSession], images: NDArray[Any]) -> dict[str, float]:
    """Median seconds of one run on `images`. The sessions take turns, so that a busy moment hits all of
    them.
    """
    inputs = {name: session.get_inputs()[0].name for name, session in sessions.items()}
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.monotonic() + LONGEST_SECONDS
    for number in range(WARM_UP + ROUNDS):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {inputs[name]: images})
            if number >= WARM_UP:
                taken[name].append(time.perf_counter() - started)
        if time.monotonic() > end and number > WARM_UP:
            break
    return {name: median(seconds) for name, seconds in taken.items()}
