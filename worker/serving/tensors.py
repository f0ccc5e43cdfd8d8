"""Tensors of the Open Inference Protocol v2: JSON and the binary tensor extension, both ways.

A request becomes arrays that the model takes as they are, or a RequestError 400 that names what is wrong.
JSON numbers go through `array.array`, which checks type and range of every element in C.

NaN and infinity: JSON has neither, so numbers out of range are refused, and so is (422) an output that holds one and is
wanted as JSON. Binary tensors carry them both ways, bit by bit.

BF16 has no numpy dtype: its tensors are arrays of their 16 bits (uint16), rounded to nearest even from JSON numbers.
"""

import itertools
import math
import reprlib
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from worker.serving.errors import RequestError
from worker.serving.model import Array, Model, Tensor

Json = dict[str, Any]
LENGTH_BYTES = 4
_quoter = reprlib.Repr()
_quoter.maxstring = _quoter.maxother = 100
quoted = _quoter.repr
"""A value of the client's in a message: never long, never deep."""


class Inference:
    """A parsed request. `items`: size of axis 0 where the model is batchable, else 1."""

    __slots__ = ("arrays", "id", "items", "outputs", "render", "shape_key")

    def __init__(
        self,
        arrays: dict[str, Array],
        items: int,
        outputs: list[tuple[int, bool]],
        request_id: str | None,
        shape_key: tuple[int, ...],
    ) -> None:
        self.arrays = arrays
        self.items = items
        self.outputs = outputs
        self.id = request_id
        self.shape_key = shape_key
        self.render: Callable[[list[Array]], tuple[str, bytes]] | None = None
        """Outputs → content type and body of the answer, where that is not the protocol's own."""

    @classmethod
    def of(cls, arrays: dict[str, Array], model: Model) -> "Inference":
        """All outputs for these inputs; raises RequestError 400 where they have different numbers of items."""
        items, shape_key = _items(arrays, model)
        return cls(arrays, items, [], None, shape_key)


def parse_request(body: bytes | memoryview, tensor_header_bytes: int | None, model: Model) -> Inference:
    """Body of an infer request → arrays. `tensor_header_bytes`: length of the JSON before binary tensors."""
    if tensor_header_bytes is None:
        text, binary = body, memoryview(b"")
    elif tensor_header_bytes > len(body):
        raise RequestError(400, "Inference-Header-Content-Length is larger than the body")
    else:
        text, binary = body[:tensor_header_bytes], memoryview(body)[tensor_header_bytes:]
    content = _object(_json(text), "the request")
    arrays: dict[str, Array] = {}
    for declared in _list(content.get("inputs"), "inputs"):
        tensor, found, binary = _input(_object(declared, "each input"), model, binary, text)
        if tensor.name in arrays:
            raise RequestError(400, f"input {tensor.name!r} is given twice")
        arrays[tensor.name] = found
    if len(binary):
        raise RequestError(400, f"{len(binary)} bytes of binary data belong to no input")
    for name in model.inputs:
        if name not in arrays:
            raise RequestError(400, f"input {name!r} is missing")
    request_id = content.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(400, "id must be a string")
    items, shape_key = _items(arrays, model)
    return Inference(arrays, items, _outputs(content, model), request_id, shape_key)


def _json(text: bytes | memoryview) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the request is not valid JSON: {error}") from None


def _object(value: object, what: str) -> Json:
    if not isinstance(value, dict):
        raise RequestError(400, f"{what} must be a JSON object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RequestError(400, f"{what} must be a list with at least one element")
    return value


def _input(
    declared: Json, model: Model, binary: memoryview, text: bytes | memoryview
) -> tuple[Tensor, Array, memoryview]:
    """One declared input → its tensor, its array, and the binary data left for the next ones."""
    name = declared.get("name")
    tensor = model.inputs.get(name) if isinstance(name, str) else None
    if tensor is None:
        raise RequestError(400, f"unknown input {quoted(name)}; the model takes {list(model.inputs)}")
    if declared.get("datatype") != tensor.datatype:
        raise RequestError(
            400, f"input {name!r} has datatype {tensor.datatype}, not {quoted(declared.get('datatype'))}"
        )
    shape = _shape(declared.get("shape"), tensor)
    count = math.prod(shape)
    size = _parameters(declared).get("binary_data_size")
    if size is None:
        flat = _from_json(declared.get("data"), tensor, count, text)
    else:
        if "data" in declared:
            raise RequestError(400, f"input {name!r} has both data and binary_data_size")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(binary):
            raise RequestError(400, f"input {name!r}: binary_data_size does not fit the body")
        flat, binary = _from_binary(binary[:size], tensor, count), binary[size:]
    return tensor, flat.reshape(shape), binary


def _parameters(declared: Json) -> Json:
    parameters = declared.get("parameters")
    return {} if parameters is None else _object(parameters, "parameters")


def _shape(declared: object, tensor: Tensor) -> list[int]:
    expected = [-1 if size is None else size for size in tensor.shape]
    if not isinstance(declared, list) or len(declared) != len(expected):
        raise RequestError(400, f"input {tensor.name!r} needs a shape like {expected}")
    for size, wanted in zip(declared, tensor.shape, strict=True):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise RequestError(400, f"input {tensor.name!r}: every dimension must be a whole number ≥ 1")
        if wanted is not None and size != wanted:
            raise RequestError(400, f"input {tensor.name!r} needs a shape like {expected}, not {declared}")
    return declared


def _counted(found: int, count: int, tensor: Tensor) -> None:
    if found != count:
        raise RequestError(400, f"input {tensor.name!r} has {found} elements where its shape says {count}")


def _from_json(data: object, tensor: Tensor, count: int, text: bytes | memoryview) -> Array:
    values = _list(data, f"data of input {tensor.name!r}")
    values = _flat(values, tensor)
    _counted(len(values), count, tensor)
    return _elements(values, tensor, may_hold_words=_may_hold_words(bytes(text)))


def flat_values(rows: list[Any], tensor: Tensor) -> Array:
    """Rows nested to any depth → one flat array of the tensor's type; raises RequestError 400."""
    return _elements(_flat(rows, tensor), tensor, may_hold_words=True)


def _flat(values: list[Any], tensor: Tensor) -> list[Any]:
    while isinstance(values[0], list):
        if not all(isinstance(row, list) for row in values):
            raise RequestError(400, f"input {tensor.name!r}: rows and numbers are mixed")
        values = list(itertools.chain.from_iterable(values))
        if not values:
            break
    return values


def _elements(values: list[Any], tensor: Tensor, *, may_hold_words: bool) -> Array:
    if tensor.datatype == "BYTES":
        return _strings(values, tensor)
    wants_bools = tensor.datatype == "BOOL"
    if (wants_bools or may_hold_words) and any(isinstance(value, bool) != wants_bools for value in values):
        raise RequestError(400, f"input {tensor.name!r} needs elements of datatype {tensor.datatype}")
    try:
        found = np.frombuffer(array(tensor.code, values), np.dtype(tensor.code))
    except (TypeError, OverflowError, ValueError) as error:
        raise RequestError(400, f"input {tensor.name!r} ({tensor.datatype}): {error}") from None
    return _in_range(found, tensor)


def _may_hold_words(text: bytes) -> bool:
    """Whether JSON data may hold `true` or `false`, which array() would take for 1 and 0.

    Numbers have neither u nor l, and looking for a letter is far cheaper than looking at every element.
    """
    start = max(0, text.find(b'"data"'))
    return text.find(b"u", start) >= 0 or text.find(b"l", start) >= 0


def to_bf16(values: Array) -> Array:
    """float32 → the 16 bits of bfloat16 (uint16), rounded to nearest even; what is too large becomes infinity."""
    bits = values.astype(np.float32, copy=False).view(np.uint32)
    rounded: Array = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), ((bits >> 16) | 0x40).astype(np.uint16), rounded)


def from_bf16(bits: Array) -> Array:
    """The 16 bits of bfloat16 (uint16) → float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _in_range(found: Array, tensor: Tensor) -> Array:
    if tensor.datatype == "BF16":
        bits = to_bf16(found)
        if not np.isfinite(from_bf16(bits)).all():
            raise RequestError(400, f"input {tensor.name!r}: a number is out of the range of BF16")
        return bits
    if found.dtype != tensor.dtype:
        with np.errstate(over="ignore"):
            found = found.astype(tensor.dtype)
    if tensor.is_float and not np.isfinite(found).all():
        raise RequestError(400, f"input {tensor.name!r}: a number is out of the range of {tensor.datatype}")
    return found


def _strings(values: list[Any], tensor: Tensor) -> Array:
    if not all(isinstance(value, str) for value in values):
        raise RequestError(400, f"input {tensor.name!r} needs strings")
    return np.array(values, dtype=object)


def _from_binary(data: memoryview, tensor: Tensor, count: int) -> Array:
    if tensor.datatype == "BYTES":
        values = _read_strings(data, tensor)
        _counted(len(values), count, tensor)
        return np.array(values, dtype=object)
    if len(data) != count * tensor.dtype.itemsize:
        raise RequestError(
            400,
            f"input {tensor.name!r} has {len(data)} bytes where its shape and datatype say "
            f"{count * tensor.dtype.itemsize}",
        )
    found = np.frombuffer(data, tensor.dtype)
    return found if found.flags.aligned else found.copy()


def _read_strings(data: memoryview, tensor: Tensor) -> list[str]:
    """Strings of the binary extension: each four bytes of length (little endian) and UTF-8."""
    values: list[str] = []
    at = 0
    while at < len(data):
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "little")
        if end > len(data) or at + LENGTH_BYTES > len(data):
            raise RequestError(400, f"input {tensor.name!r}: its strings do not fit its bytes")
        try:
            values.append(str(data[at + LENGTH_BYTES : end], "utf-8"))
        except UnicodeDecodeError:
            raise RequestError(400, f"input {tensor.name!r}: strings must be UTF-8") from None
        at = end
    return values


def _items(arrays: dict[str, Array], model: Model) -> tuple[int, tuple[int, ...]]:
    """Items of the request, and what requests of one batch have in common."""
    if not model.batchable:
        return 1, ()
    if len(arrays) == 1:
        shape = next(iter(arrays.values())).shape
        return shape[0], shape[1:]
    sizes = {found.shape[0] for found in arrays.values()}
    if len(sizes) > 1:
        raise RequestError(400, f"inputs have different numbers of items: {sorted(sizes)}")
    rest = itertools.chain.from_iterable(arrays[name].shape[1:] for name in model.inputs)
    return sizes.pop(), tuple(rest)


def _outputs(content: Json, model: Model) -> list[tuple[int, bool]]:
    """Which outputs are wanted (index) and whether as binary; all of them where none is named."""
    by_default = _flag(_parameters(content), "binary_data_output", default=False)
    declared = content.get("outputs")
    if declared is None or declared == []:
        return [(index, by_default) for index in range(len(model.outputs))]
    wanted: dict[int, bool] = {}
    for entry in _list(declared, "outputs"):
        name = _object(entry, "each output").get("name")
        if name not in model.output_names:
            raise RequestError(400, f"unknown output {quoted(name)}; the model gives {model.output_names}")
        index = model.output_names.index(name)
        wanted[index] = _flag(_parameters(entry), "binary_data", default=by_default)
    return list(wanted.items())


def _flag(parameters: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(400, f"{name} must be true or false")
    return value


def encode_output(tensor: Tensor, found: Array, *, binary: bool) -> tuple[bytes, bytes]:
    """One output → its JSON object and its binary data (empty for JSON)."""
    shape = b",".join([b"%d" % size for size in found.shape])
    start = b'{"name":%b,"datatype":"%b","shape":[%b],' % (
        orjson.dumps(tensor.name),
        tensor.datatype.encode(),
        shape,
    )
    if binary:
        data = _bytes(found, tensor)
        return start + b'"parameters":{"binary_data_size":%d}}' % len(data), data
    if tensor.datatype == "BYTES":
        return start + b'"data":' + orjson.dumps(found.reshape(-1).tolist()) + b"}", b""
    flat = np.ascontiguousarray(from_bf16(found) if tensor.datatype == "BF16" else found).reshape(-1)
    data = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if tensor.is_float and b"n" in data:  # of null, which stands for a number that JSON does not have
        raise RequestError(
            422, f"output {tensor.name!r} holds NaN or infinity, which JSON has no word for; ask for binary data"
        )
    return start + b'"data":' + data + b"}", b""


def _bytes(found: Array, tensor: Tensor) -> bytes:
    if tensor.datatype != "BYTES":
        return found.tobytes()
    texts = [str(value).encode() for value in found.reshape(-1)]
    return b"".join([len(text).to_bytes(LENGTH_BYTES, "little") + text for text in texts])
