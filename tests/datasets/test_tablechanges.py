"""What became of the columns of a table, from what was counted of two versions."""

from typing import Any

from backend.datasets.preview_schemas import ColumnPreview, TabularPreview, ValueCount
from backend.datasets.tablechanges import compare_tables


def column(name: str, type_: Any = "number", **changes: Any) -> ColumnPreview:
    told: dict[str, Any] = {
        "count": 3, "missing": 0, "distinct": 2, "distinct_over": None, "minimum": 1.0, "maximum": 2.0,
        "mean": 1.5, "std": 0.5, "top": [ValueCount(value=1.0, count=2)],
    }  # fmt: skip
    return ColumnPreview(name=name, type=type_, **(told | changes))


def table(*columns: ColumnPreview, rows: int = 3) -> TabularPreview:
    return TabularPreview(kind="tabular", examples=rows, target_column=None, columns=list(columns), head=[])


def test_columns_are_told_by_what_became_of_them() -> None:
    before = table(column("a"), column("b"), column("gone"), column("typed"), column("same"))
    after = table(column("same"), column("typed", "text"), column("new"), column("b", mean=1.6), column("a", missing=1))
    found = compare_tables(before, after)
    assert [(one.name, one.change) for one in found.columns] == [
        ("new", "added"), ("gone", "removed"), ("typed", "type"), ("b", "values"), ("a", "values"), ("same", "same"),
    ]  # fmt: skip
    assert [found.count(change) for change in ("added", "removed", "type", "values", "same")] == [1, 1, 1, 2, 1]


def test_the_same_rows_in_another_order_are_the_same_column() -> None:
    found = compare_tables(table(column("a")), table(column("a", mean=1.5 + 1e-13, std=0.5 - 1e-13), rows=5))
    assert found.count("same") == 1
    assert (found.rows_before, found.rows_after) == (3, 5)


def test_a_column_of_no_values_is_like_itself() -> None:
    empty = column("a", count=0, missing=3, minimum=None, maximum=None, mean=None, std=None, top=[])
    assert compare_tables(table(empty), table(empty)).count("same") == 1
    assert compare_tables(table(empty), table(column("a"))).count("values") == 1
