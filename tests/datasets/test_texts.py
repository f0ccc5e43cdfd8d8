"""Reading texts: JSON Lines, CSV, archives, one text; errors by line."""

import io
import zipfile
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.datasets import texts
from backend.datasets.errors import InvalidFiles
from backend.datasets.kinds import READERS, Known
from backend.datasets.tallies import TextTally, read_tally
from tests.datasets.files import archive
from tests.datasets.tables import json_lines, paragraphs

pytestmark = pytest.mark.unit
Pairs = list[tuple[str, str | None]]


def read(data: bytes, name: str, label: str | None = None, **known: Any) -> Pairs:
    with READERS["text"](io.BytesIO(data), name, label, Known(digests={}, **known)) as incoming:
        content = incoming.content(incoming.files[0].sha256)
        assert not isinstance(content, bytes)
        whole = content.whole()
        table = pq.read_table(io.BytesIO(whole if isinstance(whole, bytes) else whole.read()))
        return [(row["text"], row["label"]) for row in table.to_pylist()]


def errors(data: bytes, name: str, label: str | None = None, **known: Any) -> list[tuple[int | None, str]]:
    with pytest.raises(InvalidFiles) as caught:
        read(data, name, label, **known)
    return [(each.get("line"), each["code"]) for each in caught.value.extra["errors"]]


def test_every_format_gives_the_same_texts() -> None:
    wanted = [("Grüße,\nworld", "hello"), ("bye", "2")]
    assert (
        read('{"text":"Grüße,\\nworld","label":"hello"}\n\n{"label":2,"text":"bye","id":7}\n'.encode(), "a.jsonl")
        == wanted
    )
    assert read('text,label\n"Grüße,\nworld",hello\nbye,2\n'.encode(), "a.csv") == wanted
    members = {"hello/1.txt": "Grüße,\nworld".encode(), "2/1.txt": b"bye", "__MACOSX/x/._1.txt": b"x"}
    assert read(archive(members, compression=zipfile.ZIP_DEFLATED), "a.zip") == wanted
    assert read(b"bye", "a.txt", "2") == wanted[1:]


def test_texts_without_labels_are_taken() -> None:
    assert read(b'{"text":"a"}\n{"text":"b","label":null}\n', "a.jsonl") == [("a", None), ("b", None)]
    assert read(b"text\na\n", "a.csv") == [("a", None)]


def test_what_is_counted_of_real_texts() -> None:
    found = paragraphs()
    with READERS["text"](io.BytesIO(json_lines(found)), "manual.jsonl", None, Known(digests={})) as incoming:
        attributes = incoming.files[0].attributes
        data = incoming.content(attributes["tally_sha256"])
    assert isinstance(data, bytes)
    tally = read_tally(data)
    assert isinstance(tally, TextTally)
    labels = {label: sum(each == label for _, each in found) for label in {each for _, each in found}}
    assert attributes["labels"] == tally.labels == labels
    lengths = [len(text) for text, _ in found]
    assert (tally.rows, tally.characters) == (len(found), sum(lengths))
    assert (tally.shortest, tally.longest) == (min(lengths), max(lengths))
    assert tally.lengths == {bits: sum(n.bit_length() == bits for n in lengths) for bits in tally.lengths}
    first = next(text for text, label in found if label == "operations")
    assert tally.samples["operations"][0] == first[:1000]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", "not_json"),
        (b"[1]", "not_json"),
        (b'{"label":"a"}', "not_json"),
        (b'{"text":7,"label":"a"}', "not_json"),
        (b'{"text":"\\ud800","label":"a"}', "not_json"),
        (b'{"text":"a\\u0000","label":"a"}', "nul_character"),
        (b'{"text":"  ","label":"a"}', "empty_text"),
        (b'{"text":"b"}', "label_missing"),
        (b'{"text":"b","label":""}', "label_invalid"),
        (b'{"text":"b","label":"a\\nb"}', "label_invalid"),
        (b'{"text":"b","label":"' + b"x" * 200 + b'"}', "label_invalid"),
        (b'{"text":"\xff","label":"a"}', "not_utf8"),
        (b'{"text":"' + b"x" * 1_000_001 + b'","label":"a"}', "text_too_long"),
        (b"[" * 200_000, "not_json"),
    ],
)
def test_bad_lines_are_named(line: bytes, code: str) -> None:
    assert (2, code) in errors(b'{"text":"a","label":"a"}\n' + line + b"\n", "a.jsonl")


def test_bad_files_of_an_archive_are_named() -> None:
    members = {"a/1.txt": b"fine", "a/2.txt": b"\xff", "a/3.png": b"x", "b/4.txt": b""}
    with pytest.raises(InvalidFiles) as caught:
        read(archive(members), "a.zip")
    assert [(each["message"].split(":")[0], each["code"]) for each in caught.value.extra["errors"]] == [
        ("a/2.txt", "not_utf8"),
        ("a/3.png", "unsupported_type"),
        ("b/4.txt", "empty_text"),
    ]
    assert errors(archive({"../a/b.txt": b"x"}), "a.zip")[0][1] == "unsafe_path"
    assert errors(b"no archive", "a.zip")[0][1] == "not_an_archive"


def test_what_is_no_such_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors(b"", "a.jsonl") == [(None, "no_rows")]
    assert errors(b"title,label\na,b\n", "a.csv") == [(None, "wrong_columns")]
    assert errors(b"text,label\na,b,c\n", "a.csv")[0] == (2, "wrong_field_count")
    labelled = {"labelled": True}
    assert errors(b'{"text":"a"}\n', "a.jsonl", attributes=[labelled]) == [(1, "label_missing")]
    monkeypatch.setattr(texts, "MAX_LABELS", 2)
    assert errors(json_lines([("a", "1"), ("a", "2"), ("a", "3")]), "a.jsonl")[-1][1] == "too_many_labels"
