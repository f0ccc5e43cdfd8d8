"""The artifact of a training: weights, an ONNX graph that needs no preprocessing but tokenizing, and its signature.

`model.safetensors` holds the state of the model as trained. `model.onnx` is for inference: batch
normalisation folded, one file, batch size free. Its input `image` is uint8 [N, C, H, W] as decoded from the
file (0 to 255, gray or RGB); the graph multiplies by 1/255 itself. Its output `logits` is float32 [N,
classes]; softmax makes probabilities of them. `signature.json` says so to machines.

Of a text classifier the input is `input_ids`, int64 [N, L], 0 where there is no token; `tokenizer.json` beside the
model makes them of a text, and the signature's `preprocessing.tokenizer` says how: the file, the input, and the length
to cut at.
"""

import contextlib
import io
import logging
import warnings
from copy import deepcopy
from dataclasses import asdict
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
from worker.training.encoders import TOKENIZER, EncoderArchitecture
from worker.training.models import Architecture
from worker.training.tasks import Classifier

OPSET = 20
INPUT = "image"
TOKENS = "input_ids"
OUTPUT = "logits"
TOLERANCE = 1e-3
"""Largest difference of a logit between torch and ONNX Runtime, both fp32."""


class Inference(nn.Module):
    """What is exported: uint8 [N, C, H, W] or tokens int64 [N, L] → logits float32 [N, classes]."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Preprocessing and model."""
        logits: Tensor = self.model(image.to(torch.float32) * (1 / 255) if image.dtype == torch.uint8 else image)
        return logits


def export_artifact(
    folder: Path,
    model: Classifier,
    architecture: Architecture | EncoderArchitecture,
    classes: list[str],
    images: NDArray[Any],
    tokenizer: bytes | None = None,
) -> None:
    """Write the artifact of `model` (on the CPU) to `folder`.

    `images` (or tokens), as in `Split`, are real ones to compare on; `tokenizer`: of a text classifier. Raises
    JobError (platform) where ONNX Runtime and torch differ.
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
    said = signature(architecture, classes)
    (folder / "signature.json").write_bytes(msgspec.json.format(msgspec.json.encode(said)))
    if tokenizer is not None:
        (folder / TOKENIZER).write_bytes(tokenizer)


def write_onnx(inference: Inference, path: Path, example: NDArray[Any]) -> None:
    """Export with a free batch size (and length of tokens), weights inside the file."""
    texts = example.dtype == np.int64
    free = {0: torch.export.Dim("batch", min=1)} | ({1: torch.export.Dim("length", min=1, max=512)} if texts else {})
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The exporter warns of torch's own internals and prints its stages: no news to the job's owner.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            inference,
            (torch.from_numpy(example),),
            dynamo=True,
            input_names=[TOKENS if texts else INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"image": free},
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise JobError("platform", "The model could not be exported to ONNX.")
    program.save(path, external_data=False)


@torch.no_grad()
def compare(inference: Inference, path: Path, images: NDArray[Any]) -> None:
    """ONNX Runtime answers as torch does, alone and in a batch; else JobError (platform)."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = inference(torch.from_numpy(images)).numpy()
    for batch, wanted in ((images, expected), (images[:1], expected[:1])):
        (answered,) = session.run([OUTPUT], {session.get_inputs()[0].name: batch})
        difference = float(np.abs(answered - wanted).max())
        if answered.shape != wanted.shape or difference > TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise JobError("platform", f"The exported model differs from the trained one by {difference:g} in a logit.")


def signature(architecture: Architecture | EncoderArchitecture, classes: list[str]) -> dict[str, Any]:
    """Content of `signature.json`; datatypes in the Open Inference Protocol's names, -1 = free size."""
    of_kind = _text_part(architecture) if isinstance(architecture, EncoderArchitecture) else _image_part(architecture)
    return {
        "format": "onnx",
        "precision": "fp32",
        **of_kind,
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, architecture.classes]}],
        "classes": classes,
        "postprocessing": {
            "classes": "argmax over the last axis",
            "probabilities": "softmax over the last axis",
        },
        "versions": {"torch": str(torch.__version__), "onnxruntime": ort.__version__, "opset": OPSET},
    }


def _image_part(architecture: Architecture) -> dict[str, Any]:
    return {
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *architecture.image_shape]}],
        "preprocessing": {
            "layout": "NCHW",
            "colour": "RGB" if architecture.image_shape[0] == 3 else "grayscale",  # noqa: PLR2004 - red, green, blue
            "range": [0, 255],
            "inside_the_model": "multiplication by 1/255",
        },
        "architecture": {
            "name": architecture.name,
            "width": architecture.width,
            "hidden": architecture.hidden,
            "dropout": architecture.dropout,
        }
        | ({"channels": list(architecture.channels)} if architecture.channels else {}),
    }


def _text_part(architecture: EncoderArchitecture) -> dict[str, Any]:
    return {
        "inputs": [{"name": TOKENS, "datatype": "INT64", "shape": [-1, -1]}],
        "preprocessing": {
            "tokenizer": {
                "file": TOKENIZER,
                "input": TOKENS,
                "max_length": architecture.max_length,
                "padding": 0,
            },
        },
        "architecture": {
            "name": architecture.name,
            "max_length": architecture.max_length,
            "dropout": architecture.dropout,
            **asdict(architecture.shape),
        },
    }
