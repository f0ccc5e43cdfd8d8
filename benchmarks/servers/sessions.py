"""What every peer runs: one ONNX Runtime session of one thread, as our replicas have."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

THREADS = 1
BATCH = 32
WINDOW_SECONDS = 0.002


class Model:
    """A model file; `input` and `logits` are its only input and output."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """[n, 1, 28, 28] float32 → [n, 10] float32."""
        return self._session.run(None, {"input": batch})[0]


def arguments() -> tuple[str, int, Path]:
    """Model file, port and a folder to work in, from the command line."""
    model, port, folder = sys.argv[1:]
    return model, int(port), Path(folder)
