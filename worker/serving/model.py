"""A variant's model: an ONNX Runtime session and what is known of its tensors.

Nothing is believed about the artifact that the session does not say: inputs and outputs are read
from the graph, whether requests may share a batch and how long a batch of one takes are measured at load.
"""

import ctypes
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from worker.serving.errors import ReplicaError
from worker.serving.log import log

Array = npt.NDArray[Any]

MAX_BATCH_ITEMS = 32
INLINE_LIMIT_SECONDS = 0.005
MEASURED_RUNS = 5

DATATYPES: dict[str, tuple[str, str, str]] = {
    # ONNX Runtime's type: protocol's datatype, numpy dtype, array.array type code of its JSON numbers
    "tensor(bool)": ("BOOL", "?", "B"),
    "tensor(uint8)": ("UINT8", "|u1", "B"),
    "tensor(uint16)": ("UINT16", "<u2", "H"),
    "tensor(uint32)": ("UINT32", "<u4", "I"),
    "tensor(uint64)": ("UINT64", "<u8", "Q"),
    "tensor(int8)": ("INT8", "|i1", "b"),
    "tensor(int16)": ("INT16", "<i2", "h"),
    "tensor(int32)": ("INT32", "<i4", "i"),
    "tensor(int64)": ("INT64", "<i8", "q"),
    "tensor(float16)": ("FP16", "<f2", "f"),
    "tensor(float)": ("FP32", "<f4", "f"),
    "tensor(bfloat16)": ("BF16", "<u2", "f"),
    "tensor(double)": ("FP64", "<f8", "d"),
    "tensor(string)": ("BYTES", "O", ""),
}


ONNX_BF16 = 16  # TensorProto.BFLOAT16


def _bits(value: Any) -> Array:  # noqa: ANN401  onnxruntime.OrtValue has no types
    """The bits of a BF16 value in host memory."""
    shape = tuple(value.shape())
    data = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(data, np.dtype("<u2")).reshape(shape)


class Tensor:
    """One input or output of a model. `shape` has None where any size is taken."""

    __slots__ = ("code", "datatype", "dtype", "is_float", "name", "shape")

    def __init__(self, node: Any) -> None:  # noqa: ANN401  onnxruntime.NodeArg has no types
        if node.type not in DATATYPES:
            raise ReplicaError(f"tensor {node.name} has the unsupported type {node.type}")
        self.name: str = node.name
        self.datatype, dtype, self.code = DATATYPES[node.type]
        self.dtype = np.dtype(dtype)
        self.is_float = self.dtype.kind == "f" or self.datatype == "BF16"
        self.shape: tuple[int | None, ...] = tuple(
            size if isinstance(size, int) and size >= 0 else None for size in node.shape
        )

    def describe(self) -> dict[str, object]:
        """As metadata of the protocol: -1 where any size is taken."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": [-1 if size is None else size for size in self.shape],
        }


class Labels(msgspec.Struct, frozen=True):
    """What a replica reads of `signature.json`; all else it asks the graph."""

    classes: list[str] = []


def _classes(path: Path) -> list[str]:
    """The classes in a model's signature; none where there is no signature or it names none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Labels).classes
    except (OSError, msgspec.DecodeError) as error:
        log("no classes in the signature", path=str(path), error=str(error))
        return []


class Model:
    """A loaded model version under its variant's name.

    `classes`: what the last axis of the first output stands for, where the signature says so; else empty.
    `batchable`: requests may be concatenated along axis 0. `inline`: a batch of one takes less than
    INLINE_LIMIT_SECONDS, so it may run in the event loop.
    """

    def __init__(
        self, name: str, version_id: str, session: "ort.InferenceSession", classes: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.version_id = version_id
        self._session = session
        self.inputs = {node.name: Tensor(node) for node in session.get_inputs()}
        self.outputs = [Tensor(node) for node in session.get_outputs()]
        self.output_names = [tensor.name for tensor in self.outputs]
        told = self.outputs and self.outputs[0].shape[-1:] == (len(classes),)
        self.classes = tuple(classes) if told else ()
        self._has_bf16 = any(tensor.datatype == "BF16" for tensor in [*self.inputs.values(), *self.outputs])
        self.batchable = self._is_batchable()
        self.cost_seconds = self._measure()
        self.inline = self.cost_seconds <= INLINE_LIMIT_SECONDS

    @classmethod
    def load(cls, folder: Path, name: str, version_id: str, threads: int) -> "Model":
        """Load `folder/model.onnx`; raises ReplicaError when ONNX Runtime does not take it."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = folder / "model.onnx"
        if not path.is_file():
            raise ReplicaError(f"variant {name}: {path} is missing")
        try:
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            model = cls(name, version_id, session, _classes(folder / "signature.json"))
        except ReplicaError:
            raise
        except Exception as error:
            raise ReplicaError(f"variant {name}: {error}") from error
        log(
            "variant loaded",
            variant=name,
            cost_ms=round(model.cost_seconds * 1e3, 3),
            batchable=model.batchable,
            inline=model.inline,
        )
        return model

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """All outputs, in the model's order; raises what ONNX Runtime raises."""
        if self._has_bf16:
            return self._run_bf16(feeds)
        outputs: list[Array] = self._session.run(self.output_names, feeds)
        return outputs

    def _run_bf16(self, feeds: dict[str, Array]) -> list[Array]:
        """BF16 tensors, as their bits: numpy has no such dtype, so they go in and come out as ONNX Runtime's values."""
        values = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(found), ONNX_BF16)
            if self.inputs[name].datatype == "BF16"
            else ort.OrtValue.ortvalue_from_numpy(found)
            for name, found in feeds.items()
        }
        results = self._session.run_with_ort_values(self.output_names, values)
        return [
            _bits(result) if tensor.datatype == "BF16" else result.numpy()
            for tensor, result in zip(self.outputs, results, strict=True)
        ]

    def sample(self, items: int) -> dict[str, Array]:
        """An input of `items` items: zeros, 1 where any size is taken."""
        feeds: dict[str, Array] = {}
        for tensor in self.inputs.values():
            sizes = [1 if size is None else size for size in tensor.shape]
            if items > 1:
                sizes[0] = items
            if tensor.datatype == "BYTES":
                feeds[tensor.name] = np.full(sizes, "", dtype=object)
            else:
                feeds[tensor.name] = np.zeros(sizes, tensor.dtype)
        return feeds

    def _is_batchable(self) -> bool:
        tensors = [*self.inputs.values(), *self.outputs]
        if not self.inputs or any(not tensor.shape or tensor.shape[0] is not None for tensor in tensors):
            return False
        try:
            answers = self.run(self.sample(2))
        except Exception as error:  # noqa: BLE001  the graph's own reasons are of no type
            log("variant refuses a batch of two zeros", variant=self.name, error=str(error))
            return False
        return all(len(output) == 2 for output in answers)  # noqa: PLR2004 - as many as it was given

    def _measure(self) -> float:
        """Median seconds of a batch of one; infinite when zeros are no legal input."""
        feeds = self.sample(1)
        taken: list[float] = []
        try:
            self.run(feeds)
            for _ in range(MEASURED_RUNS):
                began = time.perf_counter()
                self.run(feeds)
                taken.append(time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001  as above
            log("variant refuses zeros", variant=self.name, error=str(error))
            return float("inf")
        return sorted(taken)[MEASURED_RUNS // 2]

    def describe(self, endpoint: str) -> dict[str, object]:
        """Model metadata of the protocol."""
        return {
            "name": endpoint,
            "versions": [self.version_id],
            "platform": "onnxruntime_onnx",
            "inputs": [tensor.describe() for tensor in self.inputs.values()],
            "outputs": [tensor.describe() for tensor in self.outputs],
        }
