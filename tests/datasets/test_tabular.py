"""Reading CSV: types, errors by line and column, hostile bytes within bounds."""

import contextlib
import gzip
import io
import random
from typing import Any

import pyarrow.parquet as pq
import pytest

from backend.datasets import lines, tabular
from backend.datasets.errors import InvalidFiles
from backend.datasets.kinds import READERS, Known
from backend.datasets.tallies import TableTally, read_tally
from tests.datasets.tables import csv_of

pytestmark = pytest.mark.unit


def read(data: bytes, name: str = "a.csv", **known: Any) -> tuple[dict[str, Any], Any]:
    """What is noted of the file, and its rows as a `pyarrow.Table`."""
    with READERS["tabular"](io.BytesIO(data), name, None, Known(digests={}, **known)) as incoming:
        file = incoming.files[0]
        content = incoming.content(file.sha256)
        assert not isinstance(content, bytes)
        whole = content.whole()
        table = pq.read_table(io.BytesIO(whole if isinstance(whole, bytes) else whole.read()))
        return file.attributes, table


def tally(data: bytes) -> TableTally:
    with READERS["tabular"](io.BytesIO(data), "a.csv", None, Known(digests={})) as incoming:
        found = incoming.content(incoming.files[0].attributes["tally_sha256"])
        assert isinstance(found, bytes)
        known = read_tally(found)
        assert isinstance(known, TableTally)
        return known


def errors(data: bytes, name: str = "a.csv", **known: Any) -> list[tuple[int | None, str | None, str]]:
    with pytest.raises(InvalidFiles) as caught:
        read(data, name, **known)
    return [(each.get("line"), each.get("column"), each["code"]) for each in caught.value.extra["errors"]]


def test_columns_get_the_narrowest_type_that_fits() -> None:
    data = (
        b"whole,real,flag,moment,day,code,mixed,big,none,name\n"
        b"1,1,true,2026-01-01T10:00:00Z,2026-01-01,007,1,12345678901234567890,,Ann\n"
        b"-2,2.5e3,False,2026-01-01 12:00:00+02:00,2026-02-28,042,x,1,NA,NA\n"
        b"+3,NA,,,,100,2,2,,\n"
    )
    attributes, table = read(data)
    assert [tuple(each) for each in attributes["columns"]] == [
        ("whole", "integer"),
        ("real", "number"),
        ("flag", "boolean"),
        ("moment", "time"),
        ("day", "time"),
        ("code", "text"),
        ("mixed", "text"),
        ("big", "text"),
        ("none", None),
        ("name", "text"),
    ]
    rows = table.to_pylist()
    assert [row["whole"] for row in rows] == [1, -2, 3]
    assert [row["real"] for row in rows] == [1.0, 2500.0, None]
    assert rows[0]["moment"].isoformat() == rows[1]["moment"].isoformat() == "2026-01-01T10:00:00+00:00"
    assert [row["code"] for row in rows] == ["007", "042", "100"]
    # In text, only an empty field is missing: NA is a country, a name, a word.
    assert [row["name"] for row in rows] == ["Ann", "NA", None]


@pytest.mark.parametrize("value", ["2026-02-30", "1e999", "0001-01-01", "1_000", "0x10", "٣", "nan1"])
def test_what_only_looks_like_a_value_is_text(value: str) -> None:
    assert read(f"a\n{value}\n".encode())[0]["columns"] == [("a", "text")]


def test_statistics_are_those_of_the_data() -> None:
    import statistics

    found = tally(csv_of("wine"))
    from sklearn.datasets import load_wine

    data = load_wine()
    assert found.rows == 178
    for at, column in enumerate(found.columns[:-1]):
        values = data.data[:, at].tolist()
        assert (column.count, column.missing, column.minimum, column.maximum) == (178, 0, min(values), max(values))
        assert column.values is not None
        assert len(column.values) == len(set(values))
        assert column.mean == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert (column.squares / column.count) ** 0.5 == pytest.approx(statistics.pstdev(values), rel=1e-9)
    assert sorted(found.columns[-1].values or []) == [("class_0", 59), ("class_1", 71), ("class_2", 48)]
    assert found.head[0][:2] == [14.23, 1.71]


def test_parts_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tally(csv_of("breast_cancer"))
    monkeypatch.setattr(tabular, "BATCH_ROWS", 50)
    parts = tally(csv_of("breast_cancer"))
    assert parts.rows == whole.rows == 569
    for one, other in zip(parts.columns, whole.columns, strict=True):
        assert (one.count, one.minimum, one.maximum) == (other.count, other.minimum, other.maximum)
        assert one.mean == pytest.approx(other.mean, rel=1e-12)
        assert one.squares == pytest.approx(other.squares, rel=1e-9)
        assert sorted(one.values or [], key=str) == sorted(other.values or [], key=str)


def test_a_gzipped_file_and_other_delimiters_read_the_same() -> None:
    plain = read(b'a,b\n1,x\n2,"y\nz"\n')[1]
    assert read(gzip.compress(b'a,b\n1,x\n2,"y\nz"\n'), "a.csv.gz")[1].equals(plain)
    assert read(b'\xef\xbb\xbfa;b\r\n1;x\r\n\r\n2;"y\nz"\r\n')[1].equals(plain)


def test_every_bad_row_is_named() -> None:
    data = b'a,b\n1,2\n3\n"x\ny",2,3\n4,5\n"6"7,8\n\xff,9\nz\x00,1\n5,"6\n'
    assert errors(data) == [
        (3, None, "wrong_field_count"),
        (4, None, "wrong_field_count"),
        (7, None, "not_csv"),
        (8, None, "not_utf8"),
        (9, None, "nul_character"),
        (10, None, "not_csv"),
    ]


def test_declared_types_and_a_target_are_insisted_on() -> None:
    data = b"age,species\n1,a\nold,b\n3.5,\n4,c\n"
    assert errors(data, declared={"age": "integer"}, target="species") == [
        (3, "age", "wrong_type"),
        (4, "age", "wrong_type"),
        (4, "species", "target_missing"),
    ]
    assert errors(b"a\n1\n", declared={"b": "integer"}, target="c") == [
        (1, "b", "column_missing"),
        (1, "c", "column_missing"),
    ]
    assert read(b"age,species\n1,a\n", declared={"age": "text"})[0]["columns"][0] == ("age", "text")


def test_a_second_file_has_the_columns_of_the_first() -> None:
    first = {"columns": [["a", "integer"], ["b", "text"], ["c", None]]}
    assert read(b"c,b,a\n2026-01-01,7,1.5\n", attributes=[first])[0]["columns"] == [
        ("c", "time"),
        ("b", "text"),
        ("a", "number"),
    ]
    assert read(b"a,b,c\n2,7,\n", attributes=[first])[0]["columns"][0] == ("a", "integer")
    assert errors(b"a,b,c\nx,7,\n", attributes=[first]) == [(2, "a", "wrong_type")]
    assert errors(b"a,d,c\n1,7,\n", attributes=[first]) == [(1, "b", "column_missing"), (1, "d", "column_unknown")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "no_header"),
        (b"\n\n", "no_header"),
        (b"a,b\n", "no_rows"),
        (b"a,a\n1,2\n", "duplicate_column"),
        (b"a,\n1,2\n", "column_name"),
        (b"a,\x01\n1,2\n", "column_name"),
        (b"a," + b"b" * 200 + b"\n1,2\n", "column_name"),
        (b",".join(b"%d" % n for n in range(1001)) + b"\n", "too_many_columns"),
        (b"PK\x03\x04\x00\x00\xff\xfe", "not_utf8"),
        (b'a\n"' + b"x" * 1_100_000 + b'"\n', "not_csv"),
    ],
)
def test_what_is_no_table_is_said(data: bytes, code: str) -> None:
    assert code in {each[2] for each in errors(data)}


def test_bounds_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10_000)
    # A quote that never closes, cell after cell, would otherwise be one row as long as the file.
    assert errors(b'a,b\n"' + b'\n","' * 20_000)[-1][2] == "row_too_long"
    assert errors(b"a" * 20_000)[-1][2] == "row_too_long"
    monkeypatch.setattr(lines, "MAX_LINES", 1000)
    assert errors(b"a\n" + b"\n" * 5000)[-1][2] == "file_too_large"
    monkeypatch.setattr(tabular, "MAX_ROWS", 100)
    assert errors(b"a\n" + b"1\n" * 200)[-1][2] == "too_many_rows"


def test_a_gzip_bomb_ends_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_BYTES", 1_000_000)
    bomb = gzip.compress(b"a\n" + b"1\n" * 5_000_000)
    assert len(bomb) < 30_000
    assert errors(bomb, "a.csv.gz")[-1][2] == "file_too_large"
    assert errors(bomb[:1000], "a.csv.gz")[-1][2] in {"corrupt_archive", "file_too_large"}


@pytest.mark.parametrize("seed", range(30))
def test_no_bytes_raise_anything_else(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    data = bytearray(csv_of("wine")[:3000])
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(len(data))] = chance.choice(b'\x00",\n\r\xff\xc3;e9.-+')
    for kind, name in (("tabular", "a.csv"), ("tabular", "a.csv.gz"), ("text", "a.jsonl"), ("text", "a.zip")):
        with (
            contextlib.suppress(InvalidFiles),
            READERS[kind](io.BytesIO(bytes(data)), name, None, Known(digests={})) as incoming,
        ):
            assert incoming.files
