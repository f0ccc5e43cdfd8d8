"""BentoML: two workers, adaptive batching up to 32."""

import os
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType
from sessions import BATCH, Model

NEVER_SHED_MS = 10_000
"""Above its latency target it would refuse calls."""


@bentoml.service(workers=2, traffic={"timeout": 30, "max_concurrency": 1024}, logging={"access": {"enabled": False}})
class Digits:
    """POST /predict {"x": [[[[...]]]]}, the batch axis first."""

    def __init__(self) -> None:
        self.model = Model(os.environ["PEER_MODEL"])

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=BATCH, max_latency_ms=NEVER_SHED_MS)
    def predict(self, x: Annotated[np.ndarray, DType("float32")]) -> np.ndarray:
        """Logits of the batch."""
        return self.model(x)
