"""MLServer's runtime for a model file: it ships none for ONNX. Open Inference Protocol, JSON."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from sessions import Model


class Digits(MLModel):
    """POST /v2/models/digits/infer."""

    async def load(self) -> bool:
        """Load the model in each of the workers."""
        self.model = Model(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Logits of a batch that the server made."""
        batch = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", self.model(batch))])
