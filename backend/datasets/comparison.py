"""What changed between two versions of a dataset. Pure, over their manifests as `pyarrow.Table`.

A file is its path and its content. Of the files of two versions,

    added        are in the newer only      removed   are in the older only
    relabelled   have another label now: the same content under another label
    moved        are in both, in another split: numbers measured on a split are then not those of the same files
"""

# pyarrow brings numpy along: see `manifest`.
# ruff: noqa: PLC0415

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Change = Literal["added", "removed", "relabelled", "moved"]
UNCHANGED = ("path", "sha256", "size_bytes", "label", "split", "width", "height")
"""Columns of a manifest that a changed file keeps."""
CHANGES: tuple[Change, ...] = ("added", "removed", "relabelled", "moved")


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that differs. Of one that was removed, `label` and `split` are what it had; `was_*` is "" if unchanged."""

    path: str
    sha256: str
    size_bytes: int
    label: str
    split: str
    was_label: str
    was_split: str
    width: int
    height: int


@dataclass(frozen=True)
class Comparison:
    """Changed files by change, as tables with the columns of `ChangedFile`, ordered by path."""

    tables: dict[Change, Any]

    def count(self, change: Change) -> int:
        """How many files changed so."""
        rows: int = self.tables[change].num_rows
        return rows

    def page(self, change: Change, *, offset: int, limit: int) -> list[ChangedFile]:
        """Up to `limit` of them from `offset` on."""
        return [ChangedFile(**row) for row in self.tables[change].slice(offset, limit).to_pylist()]


def compare(older: Any, newer: Any) -> Comparison:  # noqa: ANN401 - pyarrow.Tables of manifests
    """What became of the files of `older` in `newer`."""
    import pyarrow.compute as pc

    places = pc.index_in(_keys(newer), value_set=_keys(older))
    known = pc.is_valid(places)
    both, before = newer.filter(known), older.take(places.filter(known))
    added = newer.filter(pc.invert(known))
    removed = older.filter(pc.invert(pc.is_in(_keys(older), value_set=_keys(newer))))
    # The same content that went from one path, which holds its label, to another.
    origins = pc.index_in(added.column("sha256"), value_set=removed.column("sha256"))
    came = pc.is_valid(origins)
    here, there = added.filter(came), removed.take(origins.filter(came))
    renamed = pc.not_equal(here.column("label"), there.column("label"))
    here, there = here.filter(renamed), there.filter(renamed)
    relabelled = pc.not_equal(both.column("label"), before.column("label"))
    moved = pc.and_(pc.not_equal(both.column("split"), before.column("split")), pc.invert(relabelled))
    return Comparison(
        {
            "added": _changed(added.filter(_absent(added, here))),
            "removed": _changed(removed.filter(_absent(removed, there))),
            "relabelled": _joined(_changed(here, there), _changed(both.filter(relabelled), before.filter(relabelled))),
            "moved": _changed(both.filter(moved), before.filter(moved)),
        }
    )


def _keys(table: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(table.column("sha256"), table.column("path"), "/")


def _absent(table: Any, among: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """A mask of the rows of `table` that are not `among` these."""
    import pyarrow.compute as pc

    return pc.invert(pc.is_in(_keys(table), value_set=_keys(among)))


def _changed(table: Any, before: Any = None) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """The columns of `ChangedFile`; `before`: the same files, row by row, as they were."""
    import pyarrow as pa

    columns = {name: table.column(name) for name in UNCHANGED}
    for name in ("label", "split"):
        columns[f"was_{name}"] = pa.array([""] * table.num_rows, pa.string()) if before is None else before.column(name)
    return pa.table(columns)


def _joined(one: Any, other: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    import pyarrow as pa

    return pa.concat_tables([one, other]).sort_by("path")
