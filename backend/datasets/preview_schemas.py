"""What the API gives about the content of a dataset or a version."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from backend.datasets.columns import ColumnType

Cell = bool | int | float | str
"""A value of a table."""


class ImageSample(BaseModel):
    """An image of a preview. Its content: `GET …/files/{sha256}` of the dataset or the version."""

    path: str
    sha256: str
    size_bytes: int
    width: int
    height: int


class ImageLabel(BaseModel):
    """A label, and its first images."""

    label: str
    count: int
    samples: list[ImageSample]


class ImagePreview(BaseModel):
    """Images: up to 200 labels with up to 8 of each."""

    kind: Literal["image"]
    examples: int
    label_count: int
    labels: list[ImageLabel]


class ValueCount(BaseModel):
    """A value, and how often it occurs."""

    value: Cell
    count: int


class ColumnPreview(BaseModel):
    """A column. `count`: rows that have a value. `distinct`: null when there are more than `distinct_over`.

    Mean and standard deviation are those of numbers, of the population; `top`: the most frequent values, up to 20.
    """

    name: str
    type: ColumnType
    count: int
    missing: int
    distinct: int | None
    distinct_over: int | None
    minimum: Cell | None
    maximum: Cell | None
    mean: float | None
    std: float | None
    top: list[ValueCount]


class TabularPreview(BaseModel):
    """A table: its columns, and the first rows in their order."""

    kind: Literal["tabular"]
    examples: int
    target_column: str | None
    columns: list[ColumnPreview]
    head: list[list[Cell | None]]


class TextLabel(BaseModel):
    """A label (null: without one), and its first texts, cut to 1,000 characters."""

    label: str | None
    count: int
    samples: list[str]


class LengthBin(BaseModel):
    """Texts of at least so many characters and below so many."""

    at_least: int
    below: int
    count: int


class TextPreview(BaseModel):
    """Texts: how long they are, and up to 200 labels with samples. Lengths are in characters."""

    kind: Literal["text"]
    examples: int
    label_count: int
    mean_length: float | None
    shortest: int | None
    longest: int | None
    lengths: list[LengthBin]
    labels: list[TextLabel]


Preview = Annotated[ImagePreview | TabularPreview | TextPreview, Field(discriminator="kind")]
