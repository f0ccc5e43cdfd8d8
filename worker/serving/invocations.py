"""The bodies of SageMaker Runtime's InvokeEndpoint: JSON, JSON Lines, CSV, npy and images, in and out.

A row is one item of the model's only input. A body of rows becomes one array, its answer has one prediction per row,
in the family of the request's content type unless `Accept` names another:

    application/json         `{"instances": [row, …]}` or a bare list of rows → `{"predictions": [row, …]}`;
                             where the model has several inputs, each instance is an object of them by name
    application/jsonlines    one row per line → one prediction per line
    text/csv                 one row of numbers per line, flattened → the same
    application/x-npy        an array as `numpy.save` writes it → the first output as one
    image/png, image/jpeg    one picture, brought to the size and colours of the input → application/json

A JSON object with named `inputs`, and anything with `Inference-Header-Content-Length`, is a request of the Open
Inference Protocol and answered as one. With `labels=true` among the custom attributes a prediction is
`{"predicted_label": …, "score": …}`, of the classes in the model's signature.

What is wrong with a body is a RequestError; `answers.refusal` tells it in SageMaker's own shape.
"""

import asyncio
import csv
import io
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import orjson
from numpy.lib import format as npformat

from worker.serving.errors import RequestError
from worker.serving.head import Head
from worker.serving.log import log
from worker.serving.model import Array, Model, Tensor
from worker.serving.pictures import is_small_png, picture
from worker.serving.tensors import Inference, flat_values, parse_request

JSON: Final = "application/json"
LINES: Final = "application/jsonlines"
CSV: Final = "text/csv"
NPY: Final = "application/x-npy"
PICTURES: Final = frozenset({"image/png", "image/jpeg"})
SAME: Final = {"": JSON, "application/x-ndjson": LINES, "application/jsonl": LINES, "image/jpg": "image/jpeg"}
LABELS: Final = "labels=true"
ROWS_LIMIT: Final = 100_000

Render = Callable[[list[Array]], tuple[str, bytes]]
Row = Any


def is_heavy(body: bytes, head: Head) -> bool:
    """Whether reading this body would keep the event loop from others: any picture but a small PNG."""
    return _media_type(head.content_type) in PICTURES and not is_small_png(body)


def parse_invocation(body: bytes, head: Head, model: Model) -> Inference:
    """Body and headers of an invocation → what the model is given and how its answer is written."""
    given = _media_type(head.content_type)
    if head.tensor_header_bytes is not None:
        return parse_request(body, head.tensor_header_bytes, model)
    if given == JSON and _is_protocol(body):
        return _named(parse_request(body, None, model), head)
    if given not in _PARSERS:
        raise RequestError(415, f"content type {given!r} is not taken; use one of {sorted(_PARSERS)}")
    wanted = _accepted(head.accept, JSON if given in PICTURES else given)
    labelled = LABELS in {part.strip().lower() for part in head.custom_attributes.split(",")}
    if labelled and not model.classes:
        raise RequestError(400, "labels are asked for, but the model's signature has no classes")
    arrays = _PARSERS[given](body, model)
    inference = Inference.of(arrays, model)
    inference.render = _renderer(wanted, model, labelled=labelled)
    return inference


def _named(inference: Inference, head: Head) -> Inference:
    if inference.id is None and head.inference_id:
        inference.id = head.inference_id
    return inference


def _media_type(value: str) -> str:
    given = value.partition(";")[0].strip().lower()
    return SAME.get(given, given)


def _is_protocol(body: bytes) -> bool:
    """Whether a JSON body is a request of the Open Inference Protocol: it is the object with `inputs`."""
    return body.lstrip()[:1] == b"{" and b'"inputs"' in body and b'"instances"' not in body


def _accepted(accept: str, default: str) -> str:
    """The first type of an Accept header that can be given; what is asked for by no name is `default`."""
    ranges = [_media_type(part) for part in accept.split(",")] if accept.strip() else ["*/*"]
    for one in ranges:
        if one in {"*/*", "text/*", "application/*"}:
            return default
        if one in _WRITERS:
            return one
    raise RequestError(406, f"none of the accepted types {accept!r} can be given; there are {sorted(_WRITERS)}")


# --- in --------------------------------------------------------------------------------------------


def _only(model: Model) -> Tensor:
    if len(model.inputs) != 1:
        raise RequestError(400, f"the model has the inputs {list(model.inputs)}: send them by name, as JSON instances")
    return next(iter(model.inputs.values()))


def _from_json(body: bytes, model: Model) -> dict[str, Array]:
    content = _json(body, "the request")
    if isinstance(content, dict):
        content = content.get("instances")
    if not isinstance(content, list) or not content:
        raise RequestError(400, 'the request must be a list of rows, or {"instances": […]}, with at least one row')
    return _rows(content, model)


def _from_lines(body: bytes, model: Model) -> dict[str, Array]:
    _check_rows(body)
    lines = [line for line in body.splitlines() if line.strip()]
    if not lines:
        raise RequestError(400, "the request has no line")
    return _rows([_json(line, f"line {number}") for number, line in enumerate(lines, 1)], model)


def _check_rows(body: bytes) -> None:
    """A row costs far more than its bytes."""
    if body.count(b"\n") + body.count(b"\r") > 2 * ROWS_LIMIT:
        raise RequestError(413, f"a request may have {ROWS_LIMIT} rows")


def _json(text: bytes, what: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"{what} is not valid JSON: {error}") from None


def _rows(rows: list[Row], model: Model) -> dict[str, Array]:
    if not isinstance(rows[0], dict):
        return {_only(model).name: _array(rows, _only(model))}
    wanted = set(model.inputs)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or set(row) != wanted:
            raise RequestError(400, f"instance {number} must be an object with {sorted(wanted)}")
    return {name: _array([row[name] for row in rows], tensor) for name, tensor in model.inputs.items()}


def _array(rows: list[Row], tensor: Tensor) -> Array:
    """Rows of any nesting → an array of the input's shape."""
    values = flat_values(rows, tensor)
    return values.reshape(_shape(len(rows), len(values), tensor))


def _shape(items: int, count: int, tensor: Tensor) -> list[int]:
    """The shape of `items` rows with `count` elements in all; at most one other axis may be free."""
    if not tensor.shape or tensor.shape[0] not in {None, items}:
        raise RequestError(400, f"input {tensor.name!r} takes no list of rows; use the Open Inference Protocol")
    rest = list(tensor.shape[1:])
    known = 1
    for size in rest:
        known *= size or 1
    each, odd = divmod(count, items)
    if odd or each % known or rest.count(None) > 1 or (None not in rest and each != known) or each == 0:
        wanted = [-1 if size is None else size for size in rest]
        raise RequestError(400, f"input {tensor.name!r}: {count} elements in {items} rows, where a row is {wanted}")
    return [items, *(each // known if size is None else size for size in rest)]


def _from_csv(body: bytes, model: Model) -> dict[str, Array]:
    tensor = _only(model)
    _check_rows(body)
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, f"the request is not valid CSV: {error}") from None
    if not lines:
        raise RequestError(400, "the request has no line")
    if tensor.datatype == "BYTES":
        return {tensor.name: _array(lines, tensor)}
    return {tensor.name: _array([_numbers(line, number, tensor) for number, line in enumerate(lines, 1)], tensor)}


def _numbers(line: list[str], number: int, tensor: Tensor) -> list[float] | list[int] | list[bool]:
    try:
        if tensor.datatype == "BOOL":
            return [{"true": True, "false": False, "1": True, "0": False}[cell.strip().lower()] for cell in line]
        return [float(cell) for cell in line] if tensor.is_float else [int(cell) for cell in line]
    except (ValueError, KeyError):
        raise RequestError(400, f"line {number} has a cell that is no {tensor.datatype}") from None


def _from_npy(body: bytes, model: Model) -> dict[str, Array]:
    tensor = _only(model)
    found = _read_npy(body)
    fits = tensor.datatype != "BYTES" and np.can_cast(found.dtype, tensor.dtype, "same_kind")
    if not fits or found.ndim == 0 or found.size == 0:
        raise RequestError(400, f"an array of {found.dtype} {list(found.shape)} does not fit {tensor.datatype}")
    given = np.ascontiguousarray(found, tensor.dtype)
    if tensor.is_float and not np.isfinite(given).all():
        raise RequestError(400, f"input {tensor.name!r}: a number is out of the range of {tensor.datatype}")
    return {tensor.name: given.reshape(_shape(len(given), given.size, tensor))}


def _read_npy(body: bytes) -> Array:
    """One array as `numpy.save` writes it; what its head promises is held against the body before it is believed."""
    file = io.BytesIO(body)
    try:
        version = npformat.read_magic(file)
        read_head = npformat.read_array_header_1_0 if version == (1, 0) else npformat.read_array_header_2_0
        shape, by_columns, dtype = read_head(file)
        count = math.prod(shape)
        if dtype.hasobject or count * dtype.itemsize != len(body) - file.tell():
            count = -1  # as many as there are, which does not fit the shape
        return np.frombuffer(body, dtype, count, file.tell()).reshape(shape, order="F" if by_columns else "C")
    except Exception as error:  # noqa: BLE001  numpy's reader of heads raises whatever its parser does
        raise RequestError(400, f"the request is not an array of numpy.save: {error}") from None


def _from_picture(body: bytes, model: Model) -> dict[str, Array]:
    tensor = _only(model)
    return {tensor.name: picture(body, tensor)}


_PARSERS: Final[dict[str, Callable[[bytes, Model], dict[str, Array]]]] = {
    JSON: _from_json,
    LINES: _from_lines,
    CSV: _from_csv,
    NPY: _from_npy,
    **dict.fromkeys(PICTURES, _from_picture),
}

# --- out -------------------------------------------------------------------------------------------


def _renderer(wanted: str, model: Model, *, labelled: bool) -> Render:
    if wanted == NPY and (labelled or model.outputs[0].datatype == "BYTES"):
        raise RequestError(406, "labels and strings cannot be given as npy")
    writer = _WRITERS[wanted]
    names = model.output_names

    def render(outputs: list[Array]) -> tuple[str, bytes]:
        if labelled:
            return wanted, writer(["predicted_label", "score"], _labels(outputs[0], model.classes))
        return wanted, writer(names, list(outputs))

    return render


def _labels(output: Array, classes: tuple[str, ...]) -> list[Array]:
    """The likeliest class of each row and its probability (softmax over the last axis)."""
    logits = output.reshape(-1, len(classes)).astype(np.float64)
    best = logits.argmax(axis=1)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponents[np.arange(len(best)), best] / exponents.sum(axis=1)
    return [np.array([classes[place] for place in best], dtype=object), scores]


def _predictions(names: list[str], outputs: list[Array]) -> list[Row]:
    columns = [output.tolist() for output in outputs]
    if len(columns) == 1:
        return list(columns[0])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _to_json(names: list[str], outputs: list[Array]) -> bytes:
    return orjson.dumps({"predictions": _predictions(names, outputs)})


def _to_lines(names: list[str], outputs: list[Array]) -> bytes:
    rows = _predictions(names, outputs)
    return b"".join([orjson.dumps(row if isinstance(row, dict) else {names[0]: row}) + b"\n" for row in rows])


def _to_csv(_names: list[str], outputs: list[Array]) -> bytes:
    written = io.StringIO()
    flat = [output.reshape(len(output), -1).tolist() for output in outputs]
    csv.writer(written, lineterminator="\n").writerows(map(itertools.chain.from_iterable, zip(*flat, strict=True)))
    return written.getvalue().encode()


def _to_npy(_names: list[str], outputs: list[Array]) -> bytes:
    written = io.BytesIO()
    np.save(written, outputs[0], allow_pickle=False)
    return written.getvalue()


_WRITERS: Final[dict[str, Callable[[list[str], list[Array]], bytes]]] = {
    JSON: _to_json,
    LINES: _to_lines,
    CSV: _to_csv,
    NPY: _to_npy,
}

# --- aside -----------------------------------------------------------------------------------------


class Reader:
    """Reads heavy bodies in a thread of its own, so that the event loop answers others meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread: ThreadPoolExecutor | None = None

    def read(
        self,
        body: bytes,
        head: Head,
        model: Model,
        submit: Callable[[Inference], None],
        refuse: Callable[[RequestError], None],
    ) -> None:
        """Call one of `submit` and `refuse` in the loop, later."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="bodies")

        def work() -> None:
            try:
                inference = parse_invocation(body, head, model)
            except RequestError as refusal:
                self._loop.call_soon_threadsafe(refuse, refusal)
            except Exception as error:  # noqa: BLE001  one bug must cost one answer
                log("request failed", error=repr(error))
                failure = RequestError(500, "the replica failed on this request")
                self._loop.call_soon_threadsafe(refuse, failure)
            else:
                self._loop.call_soon_threadsafe(submit, inference)

        self._thread.submit(work)
