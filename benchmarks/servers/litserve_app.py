"""LitServe: one worker and one API server, its fast queue on; batches of 32, 2 ms."""

import litserve
import numpy as np
from sessions import BATCH, WINDOW_SECONDS, Model, arguments

MODEL, PORT, _ = arguments()


class Digits(litserve.LitAPI):
    """POST /predict {"input": [1, 28, 28] nested} → {"output": [10]}."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the framework's signature
        """Load the model in the worker's process."""
        self.model = Model(MODEL)

    def decode_request(self, request: dict) -> np.ndarray:
        """One input."""
        return np.asarray(request["input"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Inputs that came together."""
        return np.stack(inputs)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Logits of the batch."""
        return self.model(batch)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """One by one again."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict:
        """The answer."""
        return {"output": output.tolist()}


if __name__ == "__main__":
    api = Digits(max_batch_size=BATCH, batch_timeout=WINDOW_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1", port=PORT, num_api_servers=1, log_level="error", generate_client_file=False, access_log=False
    )
