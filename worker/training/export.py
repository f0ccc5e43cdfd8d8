"""The artifact of a training: weights, an ONNX graph that needs no preprocessing, and its signature.

`model.safetensors` holds the state of the model as trained. `model.onnx` is for inference: batch
normalisation folded, one file, batch size free. Its input `image` is uint8 [N, C, H, W] as decoded from the
file (0 to 255, gray or RGB); the graph multiplies by 1/255 itself. Its output `logits` is float32 [N,
classes]; softmax makes probabilities of them. `signature.json` says so to machines.
"""

import contextlib
import io
import logging
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from worker.jobprocess import JobError
from worker.training.models import Architecture, SmallCnn

OPSET = 20
INPUT = "image"
OUTPUT = "logits"
TOLERANCE = 1e-3
"""Largest difference of a logit between torch and ONNX Runtime, both fp32."""


class Inference(nn.Module):
    """What is exported: uint8 [N, C, H, W] → logits float32 [N, classes]."""

    def __init__(self, model: SmallCnn) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Preprocessing and model."""
        logits: Tensor = self.model(image.to(torch.float32) * (1 / 255))
        return logits


def export_artifact(
    folder: Path, model: SmallCnn, architecture: Architecture, classes: list[str], images: NDArray[np.uint8]
) -> None:
    """Write the artifact of `model` (on the CPU) to `folder`.

    `images`, uint8 [N, C, H, W], are real ones to compare on; raises JobError (platform) where ONNX Runtime
    and torch differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    # The library writes with mode 0600; an artifact is read by whoever serves it.
    (folder / "model.safetensors").chmod(0o644)
    inference = Inference(deepcopy(model)).eval()
    inference.model.fuse()
    write_onnx(inference, folder / "model.onnx", images[:2])
    compare(inference, folder / "model.onnx", images)
    (folder / "signature.json").write_bytes(msgspec.json.format(msgspec.json.encode(signature(architecture, classes))))


def write_onnx(inference: Inference, path: Path, example: NDArray[np.uint8]) -> None:
    """Export with a free batch size, weights inside the file."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The exporter warns of torch's own internals and prints its stages: no news to the job's owner.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            inference,
            (torch.from_numpy(example),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1)}},
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise JobError("platform", "The model could not be exported to ONNX.")
    program.save(path, external_data=False)


@torch.no_grad()
def compare(inference: Inference, path: Path, images: NDArray[np.uint8]) -> None:
    """ONNX Runtime answers as torch does, alone and in a batch; else JobError (platform)."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = inference(torch.from_numpy(images)).numpy()
    for batch, wanted in ((images, expected), (images[:1], expected[:1])):
        (answered,) = session.run([OUTPUT], {INPUT: batch})
        difference = float(np.abs(answered - wanted).max())
        if answered.shape != wanted.shape or difference > TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise JobError("platform", f"The exported model differs from the trained one by {difference:g} in a logit.")


def signature(architecture: Architecture, classes: list[str]) -> dict[str, Any]:
    """Content of `signature.json`; datatypes in the Open Inference Protocol's names, -1 = free batch size."""
    return {
        "format": "onnx",
        "precision": "fp32",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *architecture.image_shape]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, architecture.classes]}],
        "classes": classes,
        "preprocessing": {
            "layout": "NCHW",
            "colour": "RGB" if architecture.image_shape[0] == 3 else "grayscale",  # noqa: PLR2004 - red, green, blue
            "range": [0, 255],
            "inside_the_model": "multiplication by 1/255",
        },
        "postprocessing": {
            "classes": "argmax over the last axis",
            "probabilities": "softmax over the last axis",
        },
        "architecture": {
            "name": architecture.name,
            "width": architecture.width,
            "hidden": architecture.hidden,
            "dropout": architecture.dropout,
        },
        "versions": {"torch": str(torch.__version__), "onnxruntime": ort.__version__, "opset": OPSET},
    }
