"""The playground: what a model takes, a first request to try, and an answer as people read it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

from backend.endpoints.invoking import Answer
from backend.endpoints.schemas import VariantName

ITEM_BYTES: Final = {"BOOL": 1, "UINT8": 1, "INT8": 1, "UINT16": 2, "INT16": 2, "FP16": 2, "UINT32": 4, "INT32": 4}
WIDE_BYTES: Final = 8
FP32: Final = "FP32"
MAX_BODY: Final = 8 * 1024 * 1024
MAX_SHOWN: Final = 20_000
MAX_BARS: Final = 10
CHANNELS: Final = (1, 3)
IMAGE_RANK: Final = 4
LONGEST_WRITTEN: Final = 16
"""Inputs of so many numbers stand in a snippet as they are; longer ones are made there."""


class PlaygroundCall(BaseModel):
    """What the playground's form sends."""

    model_config = ConfigDict(extra="forbid")

    body: Annotated[str, StringConstraints(min_length=2, max_length=MAX_BODY)]
    variant: VariantName | None = None
    sticky_key: Annotated[str, StringConstraints(max_length=128, pattern=r"^[\x20-\x7e]*$")] | None = None


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of the signature, for one item: free sizes are 1."""

    name: str
    datatype: str
    shape: Sequence[int]

    @property
    def count(self) -> int:
        """How many numbers one item has."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """How many bytes they are on the wire."""
        return self.count * (4 if self.datatype == FP32 else ITEM_BYTES.get(self.datatype, WIDE_BYTES))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A model that takes pictures: [1, channels, height, width]. `top` is white's number: 255, or 1 for floats."""

    tensor: Tensor
    channels: int
    height: int
    width: int
    top: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One class and its probability in [0, 1]."""

    label: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer. `status` 0: no gateway answered. `error`: the protocol's own sentence. `seconds`: the round trip."""

    status: int
    variant: str
    seconds: float
    bars: Sequence[Bar]
    text: str
    error: str
    cut: bool

    @property
    def is_good(self) -> bool:
        """The model answered."""
        return self.status == HTTPStatus.OK


def tensors(signature: Mapping[str, Any], side: str) -> list[Tensor]:
    """`inputs` or `outputs` of a signature; none where it has none."""
    return [
        Tensor(
            name=str(one["name"]),
            datatype=str(one["datatype"]),
            shape=[int(size) if int(size) > 0 else 1 for size in one["shape"]],
        )
        for one in signature.get(side, [])
    ]


def picture(signature: Mapping[str, Any]) -> Picture | None:
    """What a model that takes one picture takes; None for any other."""
    found = tensors(signature, "inputs")
    if len(found) != 1 or len(found[0].shape) != IMAGE_RANK or found[0].shape[1] not in CHANNELS:
        return None
    _, channels, height, width = found[0].shape
    if found[0].datatype == "BYTES" or min(height, width) <= 1:
        return None
    top = 255 if "INT" in found[0].datatype else 1
    return Picture(tensor=found[0], channels=channels, height=height, width=width, top=top)


def example(signature: Mapping[str, Any]) -> str:
    """A request of one item of zeros, in the Open Inference Protocol's JSON."""
    return json.dumps({"inputs": [_input(one, [_zero(one)] * one.count) for one in tensors(signature, "inputs")]})


def _zero(tensor: Tensor) -> object:
    return {"BYTES": "", "BOOL": False}.get(tensor.datatype, 0)


def _input(tensor: Tensor, data: Sequence[object]) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype, "data": list(data)}


def read_answer(answer: Answer, signature: Mapping[str, Any]) -> Answered:
    """What came back, with the classes' probabilities of the first item where the signature names classes."""
    text = answer.content.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    told = content if isinstance(content, dict) else {}
    good = answer.status == HTTPStatus.OK
    return Answered(
        status=answer.status,
        variant=answer.variant,
        seconds=answer.seconds,
        bars=_bars(told, signature) if good else [],
        text=(json.dumps(content, indent=1, ensure_ascii=False) if content is not None else text)[:MAX_SHOWN],
        error="" if good else str(told.get("error", text))[:1000],
        cut=answer.cut or len(text) > MAX_SHOWN,
    )


def _bars(told: Mapping[str, Any], signature: Mapping[str, Any]) -> list[Bar]:
    classes = signature.get("classes")
    outputs = told.get("outputs")
    if not isinstance(classes, list) or not isinstance(outputs, list) or not outputs:
        return []
    data = outputs[0].get("data") if isinstance(outputs[0], dict) else None
    scores = data[: len(classes)] if isinstance(data, list) else []
    if not classes or len(scores) != len(classes) or not all(isinstance(one, int | float) for one in scores):
        return []
    postprocessing = signature.get("postprocessing")
    said = postprocessing.get("probabilities", "") if isinstance(postprocessing, dict) else ""
    shares = _softmax(scores) if str(said).startswith("softmax") or not _are_shares(scores) else scores
    bars = [Bar(label=str(label), share=share) for label, share in zip(classes, shares, strict=True)]
    return sorted(bars, key=lambda bar: -bar.share)[:MAX_BARS]


def _are_shares(scores: Sequence[float]) -> bool:
    return min(scores) >= 0 and abs(sum(scores) - 1) < 1e-3  # noqa: PLR2004 - what float32 leaves of a sum of 1


def _softmax(scores: Sequence[float]) -> list[float]:
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    whole = sum(weights)
    return [weight / whole for weight in weights]


# --- snippets -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """Code to copy: `title` is a name of a tool."""

    key: str
    title: str
    text: str


def snippets(name: str, gateway_url: str, grpc_address: str, signature: Mapping[str, Any]) -> list[Snippet]:
    """How to call this endpoint: curl, Python, tritonclient over HTTP and gRPC, SageMaker Runtime, the command line.

    `grpc_address` is `host:port`.
    """
    inputs = tensors(signature, "inputs")
    found = [Snippet(key="curl", title="curl", text=_curl(f"{gateway_url}/v2/models/{name}/infer", inputs))]
    if len(inputs) == 1:
        found.append(Snippet(key="python", title="Python", text=_python(name, gateway_url, inputs[0])))
    scheme, _, address = gateway_url.partition("://")
    ssl = ", ssl=True" if scheme == "https" else ""
    outputs = tensors(signature, "outputs")
    found += [
        Snippet(
            key="tritonclient", title="tritonclient", text=_triton("http", f'"{address}"{ssl}', name, inputs, outputs)
        ),
        Snippet(
            key="grpc", title="tritonclient, gRPC", text=_triton("grpc", f'"{grpc_address}"', name, inputs, outputs)
        ),
    ]
    if picture(signature) is not None:
        cli = f"modelyard --gateway-url {gateway_url} endpoints invoke {name} picture.png --resize"
        found.append(Snippet(key="cli", title="CLI", text=cli))
    url = f"{gateway_url}/endpoints/{name}/invocations"
    found.append(Snippet(key="sagemaker", title="SageMaker Runtime", text=_curl(url, inputs)))
    return found


def _curl(url: str, inputs: Sequence[Tensor]) -> str:
    lines, parts = [], []
    for index, one in enumerate(inputs):
        zero = json.dumps(_zero(one))
        if one.count <= LONGEST_WRITTEN:
            data = ",".join([zero] * one.count)
        else:
            variable = f"DATA{index or ''}"
            lines.append(f"{variable}=$(printf '{zero},%.0s' $(seq {one.count - 1})){zero}  # {one.count} numbers")
            data = f"'\"${variable}\"'"
        head = json.dumps({"name": one.name, "shape": list(one.shape), "datatype": one.datatype})[:-1]
        parts.append(f'{head}, "data": [{data}]}}')
    lines.append(
        f"curl {url} \\\n"
        '  -H "Authorization: Bearer $MODELYARD_API_KEY" -H "Content-Type: application/json" \\\n'
        f"  -d '{{\"inputs\": [{', '.join(parts)}]}}'"
    )
    return "\n".join(lines)


def _python(name: str, gateway_url: str, tensor: Tensor) -> str:
    shape = list(tensor.shape)
    return f"""import os
from modelyard.inference import InferenceClient

raw = bytes({tensor.size_bytes})  # {tensor.datatype} {shape}, little-endian: here all zeros
with InferenceClient("{gateway_url}", os.environ["MODELYARD_API_KEY"]) as client:
    answer = client.infer("{name}", name="{tensor.name}", shape={shape}, datatype="{tensor.datatype}", raw=raw)
print(answer.variant, answer.output())"""


def _triton(form: str, server: str, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """`form`: http or grpc, whose metadata must be in lower case. `server`: the client's arguments."""
    lines = [
        "import os",
        "import numpy as np",
        f"import tritonclient.{form} as triton",
        "from tritonclient.utils import triton_to_np_dtype",
        "",
        f"client = triton.InferenceServerClient({server})",
        "inputs = []",
        f"for name, shape, datatype in {[(one.name, list(one.shape), one.datatype) for one in inputs]!r}:",
        "    one = triton.InferInput(name, shape, datatype)",
        "    one.set_data_from_numpy(np.zeros(shape, triton_to_np_dtype(datatype)))",
        "    inputs.append(one)",
        'headers = {"authorization": f"Bearer {os.environ[\'MODELYARD_API_KEY\']}"}',
        f'answer = client.infer("{name}", inputs, headers=headers)',
    ]
    lines += [f'print(answer.as_numpy("{one.name}"))' for one in outputs]
    return "\n".join(lines)
