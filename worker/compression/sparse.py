"""Weights that are mostly zeros, written without them: ONNX's sparse initializers.

ONNX Runtime makes dense tensors of them when it loads the model, so only the file is smaller. A value costs its four
bytes and the eight of its place: it is worth it where fewer than a third are not zero.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

BYTES_DENSE = 4
BYTES_SPARSE = 12


def dense_weights(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The sparse initializers of a model as ordinary ones."""
    for one in model.graph.sparse_initializer:
        values = np.zeros(prod(one.dims), np.float32)
        values[numpy_helper.to_array(one.indices)] = numpy_helper.to_array(one.values)
        yield numpy_helper.from_array(values.reshape(list(one.dims)), one.values.name)


def write_sparse(path: Path) -> None:
    """Rewrite the model, each fp32 initializer as what is smaller."""
    model = onnx.load(path)
    for tensor in list(model.graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        places = np.flatnonzero(values)
        if not len(places) or BYTES_SPARSE * len(places) >= BYTES_DENSE * values.size:
            continue
        held = numpy_helper.from_array(values.reshape(-1)[places], tensor.name)
        indices = numpy_helper.from_array(places.astype(np.int64), f"{tensor.name}_places")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(held, indices, list(values.shape)))
        model.graph.initializer.remove(tensor)
    onnx.save(model, path)
