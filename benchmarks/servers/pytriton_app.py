"""NVIDIA PyTriton: a Triton server with two instances of a Python callback, dynamic batches of 32, 2 ms."""

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from sessions import BATCH, WINDOW_SECONDS, Model, arguments


def callback(path: str):  # noqa: ANN201 - the decorator's own type
    """One instance of the model."""
    model = Model(path)

    @batch
    def infer(input: np.ndarray) -> list[np.ndarray]:  # noqa: A002 - the tensor's name
        return [model(input)]

    return infer


if __name__ == "__main__":
    path, port, _ = arguments()
    config = TritonConfig(
        http_port=port, http_address="127.0.0.1", http_thread_count=2, allow_grpc=False, allow_metrics=False
    )
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(WINDOW_SECONDS * 1e6))
    with Triton(config=config) as triton:
        triton.bind(
            "digits",
            [callback(path), callback(path)],
            [Tensor(name="input", dtype=np.float32, shape=(1, 28, 28))],
            [Tensor(name="logits", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=BATCH, batcher=batcher),
            strict=False,
        )
        triton.serve()
