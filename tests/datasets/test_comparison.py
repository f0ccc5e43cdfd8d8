"""What changed between two manifests."""

import pytest

from backend.datasets.comparison import Comparison, compare
from backend.datasets.manifest import ManifestRow, read_manifest, write_manifest

pytestmark = pytest.mark.unit


def manifest(*rows: tuple[str, str, str]) -> object:
    """A manifest of (path, content, split); the label is the path's folder."""
    return read_manifest(
        write_manifest(
            ManifestRow(
                path=path,
                sha256=content.ljust(64, "0"),
                size_bytes=10,
                label=path.partition("/")[0],
                split=split,
                width=8,
                height=8,
            )
            for path, content, split in rows
        )
    )


def paths(comparison: Comparison) -> dict[str, list[str]]:
    return {change: [row.path for row in comparison.page(change, offset=0, limit=100)] for change in comparison.tables}


def test_every_kind_of_change() -> None:
    older = manifest(
        ("cat/1.png", "a", "train"),
        ("cat/2.png", "b", "train"),
        ("cat/3.png", "c", "test"),
        ("dog/4.png", "d", "train"),
        ("dog/5.png", "e", "train"),
    )
    newer = manifest(
        ("cat/1.png", "a", "train"),  # as it was
        ("cat/2.png", "b", "test"),  # another split
        ("dog/3.png", "c", "test"),  # another label
        ("dog/5.png", "f", "train"),  # other content under the same path
        ("dog/6.png", "g", "train"),  # new
    )
    found = compare(older, newer)
    assert paths(found) == {
        "added": ["dog/5.png", "dog/6.png"],
        "removed": ["dog/4.png", "dog/5.png"],
        "relabelled": ["dog/3.png"],
        "moved": ["cat/2.png"],
    }
    (relabelled,) = found.page("relabelled", offset=0, limit=1)
    assert (relabelled.was_label, relabelled.label) == ("cat", "dog")
    (moved,) = found.page("moved", offset=0, limit=1)
    assert (moved.was_split, moved.split) == ("train", "test")


def test_a_version_does_not_differ_from_itself() -> None:
    same = manifest(("cat/1.png", "a", "train"), ("dog/1.png", "a", "test"))
    assert paths(compare(same, same)) == {"added": [], "removed": [], "relabelled": [], "moved": []}


def test_a_copy_that_goes_is_no_change_of_label() -> None:
    older = manifest(("cat/1.png", "a", "train"), ("dog/1.png", "a", "train"))
    newer = manifest(("cat/1.png", "a", "train"))
    assert paths(compare(older, newer)) == {"added": [], "removed": ["dog/1.png"], "relabelled": [], "moved": []}


def test_a_new_name_under_the_same_label_is_a_new_file() -> None:
    found = paths(compare(manifest(("cat/1.png", "a", "train")), manifest(("cat/one.png", "a", "train"))))
    assert found == {"added": ["cat/one.png"], "removed": ["cat/1.png"], "relabelled": [], "moved": []}


def test_pages_follow_each_other() -> None:
    newer = manifest(*((f"cat/{n}.png", f"{n:x}", "train") for n in range(10, 40)))
    found = compare(manifest(("dog/1.png", "e0e", "train")), newer)
    assert found.count("added") == 30
    assert [row.path for row in found.page("added", offset=20, limit=20)] == [f"cat/{n}.png" for n in range(30, 40)]
