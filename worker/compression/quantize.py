"""Quantization of an ONNX classifier by ONNX Runtime's own quantizers.

static: weights and activations of every layer in int8, QDQ, per channel, ranges from real inputs. dynamic: linear
layers and embeddings, ranges of the activations found at each request. weight-only: linear layers in blocks of weights
with a scale each, the products as ONNX Runtime's `MatMulNBits`; what is left is stored in int8.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process

from worker.compression.graphs import TABLE, weighed, with_activations
from worker.compression.storage import store_weights

CONVOLUTIONAL = ["Add", "AveragePool", "Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Reshape"]
LINEAR_ONLY = ["Gemm", "MatMul"]
CALIBRATION_BATCH = 32
RANGES = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}
BLOCK = 32
INT8_PRODUCTS = 4
"""`accuracy_level` of MatMulNBits: activations are rounded to int8 for the product."""


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
    """Batches of real inputs, [B, …], under the model's input name."""

    def __init__(self, input_name: str, inputs: NDArray[Any]) -> None:
        starts = range(0, len(inputs), CALIBRATION_BATCH)
        self._batches: Iterator[dict[str, NDArray[Any]]] = iter(
            [{input_name: inputs[start : start + CALIBRATION_BATCH]} for start in starts]
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch; None at the end."""
        return next(self._batches, None)


def prepare(source: Path, target: Path) -> None:
    """Write `source` with shapes inferred and constants folded, as the quantizers want it."""
    quant_pre_process(source, target, skip_symbolic_shape=True)


def quantize_statically(
    prepared: Path, target: Path, inputs: NDArray[Any], ranges: Literal["minmax", "percentile"], kept: list[str]
) -> None:
    """Write `prepared` in int8, calibrated on `inputs` [N, …]; nodes named in `kept` stay in fp32."""
    model = onnx.load(prepared)
    convolutional = any(node.op_type == "Conv" for node in model.graph.node)
    quantize_static(
        model,
        target,
        Calibration(model.graph.input[0].name, inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=CONVOLUTIONAL if convolutional else LINEAR_ONLY,
        nodes_to_exclude=with_activations(model, kept),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=RANGES[ranges],
        extra_options={"MatMulConstBOnly": True},
    )


def quantize_dynamically(prepared: Path, target: Path, kept: list[str]) -> None:
    """Write `prepared` with linear layers and embeddings in int8; nodes named in `kept` stay in fp32."""
    model = onnx.load(prepared)
    tables = [one.node.name for one in weighed(model, (TABLE,))]
    others = [node.name for node in model.graph.node if node.op_type == TABLE and node.name not in tables]
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=[*LINEAR_ONLY, TABLE],
        # The quantizer makes products of Gemm first, under this name.
        nodes_to_exclude=[*kept, *(f"{name}_MatMul" for name in kept), *others],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def quantize_weights(prepared: Path, target: Path, bits: Literal[4, 8], kept: list[str]) -> None:
    """Write `prepared` with weights of `bits` in its linear layers; nodes named in `kept` stay in fp32."""
    wrapped = ONNXModel(onnx.load(prepared))
    gemms = {node.name for node in wrapped.model.graph.node if node.op_type == "Gemm"}
    wrapped.replace_gemm_with_matmul()
    excluded = [f"{name}_MatMul" if name in gemms else name for name in kept]
    quantizer = MatMulNBitsQuantizer(
        wrapped.model,
        bits=bits,
        block_size=BLOCK,
        is_symmetric=True,
        accuracy_level=INT8_PRODUCTS,
        nodes_to_exclude=excluded,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    store_weights(quantizer.model.model, "int8", ("Conv", TABLE), kept)
    onnx.save(quantizer.model.model, target)
