"""Freezing tables and texts: every row gets its split, and each split becomes one Parquet file.

Rows are numbered through all files in the order of their paths. Within a stratum (a label, or a tenth of a numeric
target's range) they are ordered by SplitMix64 of seed and number, and the first go to train, the next to validation,
the last to test: exact sizes, the same for the same files, seed and sizes, whatever the version of a library.
SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
"""

# pyarrow is large: it is imported by the first table, not by every process.
# ruff: noqa: PLC0415

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any
from uuid import UUID

import msgspec

from backend.core.storage import ObjectStore, Received, blob_key
from backend.datasets.columns import ColumnType
from backend.datasets.errors import TargetInvalid
from backend.datasets.kinds import known_columns
from backend.datasets.manifest import ManifestRow
from backend.datasets.split import SPLITS, share_out
from backend.datasets.tables import TEXT_COLUMNS, Columns, TableFile, batches, described, new_tally

MAX_CLASSES = 1000
FEW_INTEGERS = 50
"""A target of integers with at most so many values is a class; with more it is a quantity."""
BINS = 10
GOLDEN = 0x9E3779B97F4A7C15
MIXES = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a table or of texts, by path, and what is predicted: a column, or None."""

    kind: str
    blobs: Sequence[tuple[str, int]]
    columns: Columns
    target: str | None


class Strata(msgspec.Struct, frozen=True, kw_only=True):
    """`codes`: the stratum of each row (`pyarrow.Array`, int32). `names`: labels by code; empty = it has none."""

    codes: Any
    names: Sequence[str]


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """What was written. `blobs`: sizes by digest."""

    rows: Sequence[ManifestRow]
    tally_sha256: str
    blobs: Mapping[str, int]
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]


def source_of(kind: str, files: Sequence[Any], target: str | None) -> Source:
    """From rows of `DatasetRepository.files`."""
    ordered = sorted(files, key=lambda file: str(file.path))
    if kind == "text":
        labelled = bool(ordered) and ordered[0].attributes["labelled"]
        columns: Columns = TEXT_COLUMNS
        target = "label" if labelled else None
    else:
        found = known_columns([file.attributes for file in ordered])
        columns = [(name, type_ or "text") for name, type_ in found.items()]
    return Source(kind=kind, blobs=[(file.sha256, file.size_bytes) for file in ordered], columns=columns, target=target)


@contextmanager
def fetched(storage: ObjectStore, organization_id: UUID, blobs: Sequence[tuple[str, int]]) -> Iterator[list[IO[bytes]]]:
    """Blobs (digest, size in bytes) as files to read. Raises ObjectMissing."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(storage.joined([(blob_key(organization_id, digest), size)])) for digest, size in blobs
        ]


# --- strata ---


def strata_of(source: Source, files: Sequence[IO[bytes]]) -> Strata:
    """The stratum of every row. Raises TargetInvalid: no such column, rows without a value, too many classes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds: dict[str, ColumnType] = dict(source.columns)
    if source.target is None:
        rows = sum(table.num_rows for file in files for table in batches(file, source.columns[:1]))
        return Strata(codes=pa.repeat(pa.scalar(0, pa.int32()), rows), names=[])
    if source.target not in kinds:
        raise TargetInvalid(f"there is no column '{source.target}'", columns=sorted(kinds)[:100])
    chunks = [table.column(0) for file in files for table in batches(file, source.columns, only=[source.target])]
    values = pa.chunked_array([chunk for column in chunks for chunk in column.chunks])
    if values.null_count:
        raise TargetInvalid(f"{values.null_count} rows have no value in the column '{source.target}'")
    kind = kinds[source.target]
    distinct = pc.unique(values)
    if kind in {"number", "time"} or (kind == "integer" and len(distinct) > FEW_INTEGERS):
        return Strata(codes=_bins(values), names=[])
    if len(distinct) > MAX_CLASSES:
        raise TargetInvalid(f"the column '{source.target}' has {len(distinct)} values; at most {MAX_CLASSES} classes")
    ordered = pc.take(distinct, pc.sort_indices(distinct))
    codes = pc.index_in(values, value_set=ordered).combine_chunks().cast(pa.int32())
    return Strata(codes=codes, names=[_label(value) for value in ordered.to_pylist()])


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bins(values: Any) -> Any:  # noqa: ANN401 - pyarrow arrays
    """A tenth of the rows each, by rank; equal values may fall into two."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places = pc.sort_indices(pc.sort_indices(values))
    return pc.divide(pc.multiply(places.cast(pa.int64()), BINS), max(1, len(values))).cast(pa.int32())


# --- splits ---


def assign_rows(strata: Strata, sizes: Mapping[str, int], *, seed: int, stratify: bool) -> Any:  # noqa: ANN401 - a pyarrow.Array
    """The split of every row as its place in `SPLITS` (int8); null = left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = len(strata.codes)
    codes = strata.codes if stratify else pa.repeat(pa.scalar(0, pa.int32()), rows)
    counts = {each["values"]: each["counts"] for each in pc.value_counts(codes).to_pylist()}
    taken = share_out({code: counts[code] for code in sorted(counts)}, sizes)
    drawn = pa.table({"stratum": codes, "draw": _draws(rows, seed)})
    order = pc.sort_indices(drawn, sort_keys=[("stratum", "ascending"), ("draw", "ascending")])
    pieces = []
    for code in sorted(counts):
        left = counts[code]
        for at, split in enumerate(SPLITS):
            size = taken.get(split, {}).get(code, 0)
            pieces.append(pa.repeat(pa.scalar(at, pa.int8()), size))
            left -= size
        pieces.append(pa.nulls(left, pa.int8()))
    return pc.take(pa.concat_arrays(pieces), pc.sort_indices(order))


def _draws(rows: int, seed: int) -> Any:  # noqa: ANN401 - a pyarrow.Array
    """SplitMix64 of the row's number, started by a hash of the seed (uint64)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def whole(value: int) -> Any:  # noqa: ANN401 - a pyarrow.Scalar
        return pa.scalar(value, pa.uint64())

    start = int.from_bytes(hashlib.sha256(f"rows\0{seed}".encode()).digest()[:8], "big")
    state = pc.add(pc.multiply(pa.array(range(1, rows + 1), pa.uint64()), whole(GOLDEN)), whole(start))
    for shift, factor in MIXES:
        state = pc.multiply(pc.bit_wise_xor(state, pc.shift_right(state, whole(shift))), whole(factor))
    return pc.bit_wise_xor(state, pc.shift_right(state, whole(31)))


# --- writing ---


def write_splits(
    storage: ObjectStore,
    organization_id: UUID,
    source: Source,
    files: Sequence[IO[bytes]],
    splits: Any,  # noqa: ANN401 - a pyarrow.Array
) -> tuple[list[ManifestRow], str, dict[str, int]]:
    """Store one Parquet file per split that has rows: (rows of the manifest, digest of the tally, sizes by digest)."""
    import pyarrow.compute as pc

    tally = new_tally(source.kind, source.columns)
    blobs: dict[str, int] = {}
    rows: list[ManifestRow] = []
    with ExitStack() as stack:
        present = [at for at in range(len(SPLITS)) if pc.any(pc.equal(splits, at)).as_py()]
        targets = {
            at: stack.enter_context(TableFile(source.columns, new_tally(source.kind, source.columns))) for at in present
        }
        start = 0
        for file in files:
            for table in batches(file, source.columns):
                mine = splits.slice(start, table.num_rows)
                start += table.num_rows
                for at, target in targets.items():
                    target.write_table(table.filter(pc.fill_null(pc.equal(mine, at), False)))  # noqa: FBT003 - pyarrow's argument
        for at, target in targets.items():
            content = target.finish()
            storage.put_received(organization_id, content.sha256(), content)
            blobs[content.sha256()] = content.size_bytes
            tally.merge(target.tally)  # type: ignore[arg-type]  # both are of the source's kind
            rows.append(_row(SPLITS[at], content))
    data, digest = described(tally)
    storage.put_blob_bytes(organization_id, digest, data)
    return rows, digest, blobs | {digest: len(data)}


def _row(split: str, content: Received) -> ManifestRow:
    return ManifestRow(
        path=f"{split}.parquet",
        sha256=content.sha256(),
        size_bytes=content.size_bytes,
        label="",
        split=split,
        width=0,
        height=0,
    )


def count_strata(strata: Strata) -> dict[str, int]:
    """Rows per label; all of them under "" where the strata are no labels."""
    import pyarrow.compute as pc

    if not strata.names:
        return {"": len(strata.codes)} if len(strata.codes) else {}
    return {strata.names[each["values"]]: each["counts"] for each in pc.value_counts(strata.codes).to_pylist()}


def count_classes(strata: Strata, splits: Any) -> dict[str, dict[str, int]]:  # noqa: ANN401 - a pyarrow.Array
    """Rows per label and split; empty where the strata are no labels."""
    import pyarrow as pa

    if not strata.names:
        return {}
    counted = (
        pa.table({"label": strata.codes, "split": splits}).group_by(["label", "split"]).aggregate([([], "count_all")])
    )
    found = {name: dict.fromkeys(SPLITS, 0) for name in strata.names}
    for each in counted.to_pylist():
        if each["split"] is not None:
            found[strata.names[each["label"]]][SPLITS[each["split"]]] = each["count_all"]
    return {name: counts for name, counts in found.items() if any(counts.values())}
