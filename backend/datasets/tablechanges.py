"""What changed between two versions of a table: its rows by number, its columns one by one. Pure.

It reads what was counted when the versions were frozen (`tallies`), never the rows: two tables of a hundred million
rows are compared as fast as two of a hundred.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.datasets.preview_schemas import ColumnPreview, TabularPreview

ColumnChange = Literal["added", "removed", "type", "values", "same"]
COLUMN_CHANGES: tuple[ColumnChange, ...] = ("added", "removed", "type", "values", "same")
"""In the order in which they are told; `values`: of the same type, with other statistics."""
ALIKE = 1e-9
"""The same rows in another order add up to almost the same mean."""


@dataclass(frozen=True)
class ChangedColumn:
    """A column of one of the versions or of both."""

    name: str
    change: ColumnChange
    before: ColumnPreview | None
    after: ColumnPreview | None


@dataclass(frozen=True)
class TableChanges:
    """Rows in all before and after, and every column: the changed ones first, then by their place in the table."""

    rows_before: int
    rows_after: int
    columns: Sequence[ChangedColumn]

    def count(self, change: ColumnChange) -> int:
        """How many columns changed so."""
        return sum(one.change == change for one in self.columns)


def compare_tables(before: TabularPreview, after: TabularPreview) -> TableChanges:
    """What became of the columns of `before` in `after`. A renamed column is one removed and one added."""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    names = [*new, *(name for name in old if name not in new)]
    found = [ChangedColumn(name, _change(old.get(name), new.get(name)), old.get(name), new.get(name)) for name in names]
    ordered = sorted(found, key=lambda one: COLUMN_CHANGES.index(one.change))
    return TableChanges(before.examples, after.examples, ordered)


def _change(before: ColumnPreview | None, after: ColumnPreview | None) -> ColumnChange:
    if before is None or after is None:
        return "added" if before is None else "removed"
    if before.type != after.type:
        return "type"
    return "same" if _alike(before, after) else "values"


def _alike(one: ColumnPreview, other: ColumnPreview) -> bool:
    """Whether everything that is counted of both is the same."""
    exact = ("count", "missing", "distinct", "minimum", "maximum", "top")
    if any(getattr(one, name) != getattr(other, name) for name in exact):
        return False
    pairs = ((one.mean, other.mean), (one.std, other.std))
    return all(
        a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=ALIKE, abs_tol=ALIKE))
        for a, b in pairs
    )
