"""Static int8 quantization of an ONNX classifier, by ONNX Runtime's quantizer: QDQ, per channel,
symmetric weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

QUANTIZED_OPERATORS = ["Add", "AveragePool", "Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Reshape"]
CALIBRATION_BATCH = 32
METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}


@dataclass(frozen=True)
class Plan:
    """One way to quantize. `float_stem`: the first convolution stays fp32.

    An int8 convolution of one or three channels copies its window byte by byte and loses to the fp32 one.
    """

    name: str
    float_stem: bool


PLANS = (Plan("every-layer", float_stem=False), Plan("float-first-convolution", float_stem=True))


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Batches of real images, uint8 [B, C, H, W], under the model's input name."""

    def __init__(self, input_name: str, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images), CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, NDArray[np.uint8]]] = iter(
            [{input_name: images[start : start + CALIBRATION_BATCH]} for start in starts]
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None at the end."""
        return next(self._batches, None)


def prepare(source: Path, target: Path) -> None:
    """Write `source` with shapes inferred and constants folded, as the quantizer wants it."""
    quant_pre_process(source, target, skip_symbolic_shape=True)


def quantize(
    prepared: Path,
    target: Path,
    plan: Plan,
    images: NDArray[np.uint8],
    method: Literal["minmax", "percentile"],
) -> None:
    """Write `prepared`, quantized as `plan` says and calibrated on `images` [N, C, H, W], to `target`."""
    model = onnx.load(prepared)
    excluded = first_convolution(model) if plan.float_stem else []
    quantize_static(
        model,
        target,
        Calibration(model.graph.input[0].name, images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTIZED_OPERATORS,
        nodes_to_exclude=excluded,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[method],
    )


def first_convolution(model: onnx.ModelProto) -> list[str]:
    """Names of the first convolution and of the ReLU behind it, which belongs to it."""
    nodes = model.graph.node
    names = []
    for node in nodes:
        if node.op_type == "Conv":
            followers = [other for other in nodes if node.output[0] in other.input]
            names = [node.name] + [other.name for other in followers if other.op_type == "Relu"]
            break
    return names
