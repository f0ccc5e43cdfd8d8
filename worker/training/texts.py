"""Texts and labels of a dataset version, read once into memory as tokens.

Layout on disk (written by the agent): `manifest.parquet` names one Parquet file per split, with the columns `text` and
`label`, under `blobs/<first two hex digits>/<sha256>`. Imports no torch: compression reads too.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from worker.jobprocess import JobError
from worker.training.images import SPLITS, Split, TextDataset

BATCH = 1000
MOST_CHARACTERS_PER_TOKEN = 50
"""What lies beyond so many times the tokens wanted is not tokenized at all: mails may have megabytes."""


def read_texts(folder: Path, tokenizer: bytes, max_length: int) -> TextDataset:
    """The dataset in `folder`, `max_length` tokens of each text.

    Raises JobError: user_code for unusable data, platform for what is missing.
    """
    tables = _read_tables(folder)
    _check_usable(tables)
    classes = sorted({label for labels, _ in tables.values() for label in labels})
    places = {label: number for number, label in enumerate(classes)}
    reader = read_tokenizer(tokenizer, max_length)
    splits = {
        name: Split(tokens_of(reader, texts, max_length), np.array([places[one] for one in labels], np.int64))
        for name, (labels, texts) in tables.items()
    }
    return TextDataset(classes, splits, tokenizer)


def holds_texts(folder: Path) -> bool:
    """Whether the dataset is one of texts: its manifest then names Parquet files, without labels of their own."""
    rows = _rows(folder)
    return bool(rows) and all(row["path"] == f"{row['split']}.parquet" and not row["label"] for row in rows)


def read_tokenizer(content: bytes, max_length: int) -> Tokenizer:
    """A tokenizer that cuts at `max_length` and pads with 0 up to it. Raises JobError (user_code)."""
    try:
        reader = Tokenizer.from_buffer(content)
    except Exception as error:  # the library raises nothing narrower
        raise JobError("user_code", f"The tokenizer cannot be read: {error}", None) from error
    reader.enable_truncation(max_length)
    reader.enable_padding(pad_id=0, length=max_length)
    return reader


def tokens_of(reader: Tokenizer, texts: list[str], max_length: int) -> NDArray[np.int64]:
    """Tokens int64 [N, max_length]."""
    tokens = np.zeros((len(texts), max_length), np.int64)
    longest = max_length * MOST_CHARACTERS_PER_TOKEN
    for start in range(0, len(texts), BATCH):
        read = reader.encode_batch_fast([text[:longest] for text in texts[start : start + BATCH]])
        for place, one in enumerate(read):
            tokens[start + place] = one.ids
    return tokens


def _rows(folder: Path) -> list[dict[str, str]]:
    try:
        table = pq.read_table(folder / "manifest.parquet", columns=["path", "sha256", "label", "split"])
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise JobError("platform", f"The dataset's manifest cannot be read: {error}") from error
    rows: list[dict[str, str]] = table.to_pylist()
    return rows


def _read_tables(folder: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Labels and texts by split."""
    found: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in SPLITS}
    for row in _rows(folder):
        if row["split"] not in SPLITS:
            raise _bad(f"{row['path']} has the unknown split {row['split']!r}.", None)
        blob = folder / "blobs" / row["sha256"][:2] / row["sha256"]
        try:
            table = pq.read_table(blob, columns=["text", "label"])
        except FileNotFoundError as error:
            raise JobError("platform", f"The blob of {row['path']} is missing from the job's input.") from error
        except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise _bad(f"{row['path']} is no table of texts.", "Choose a dataset of kind text.") from error
        labels, texts = found[row["split"]]
        labels += table.column("label").to_pylist()
        texts += table.column("text").to_pylist()
    return found


def _check_usable(tables: dict[str, tuple[list[str], list[str]]]) -> None:
    every = {label for labels, _ in tables.values() for label in labels}
    if None in every:
        raise _bad("The dataset has texts without a label.", "Label every text, or leave it out.")
    if len(every) < 2:  # noqa: PLR2004 - telling classes apart takes two
        raise _bad(f"The dataset has {len(every)} classes.", "Classification needs texts of at least two classes.")
    if len(tables["train"][0]) < 2:  # noqa: PLR2004 - as of images
        raise _bad("The dataset has no texts to train on.", "Freeze it with a train split.")
    if not tables["validation"][0]:
        raise _bad("The dataset has no validation texts.", "Freeze the version with a validation split.")


def _bad(reason: str, hint: str | None) -> JobError:
    return JobError("user_code", reason, hint)
