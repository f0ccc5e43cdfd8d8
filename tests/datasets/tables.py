"""Real tables and texts for tests: measured wines and tumours of scikit-learn, paragraphs of this project's manual."""

import csv
import io
import json
from functools import lru_cache
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


@lru_cache(maxsize=4)
def csv_of(name: str) -> bytes:
    """`wine` (178 rows, 13 numbers, 3 cultivars) or `breast_cancer` (569 rows, 30 numbers) with the target last."""
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow([*data.feature_names, "target"])
    for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True):
        writer.writerow([*row, str(data.target_names[label])])
    return target.getvalue().encode()


@lru_cache(maxsize=1)
def paragraphs() -> list[tuple[str, str]]:
    """(paragraph, chapter) of the manual."""
    return [
        (paragraph.strip(), chapter)
        for chapter in ("concepts", "how-to", "operations")
        for page in sorted((DOCS / chapter).glob("*.md"))
        for paragraph in page.read_text().split("\n\n")
        if len(paragraph.strip()) > 80
    ]


def json_lines(texts: list[tuple[str, str]]) -> bytes:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts).encode()
