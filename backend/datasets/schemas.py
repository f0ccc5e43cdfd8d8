"""What the API takes and gives about datasets, uploads and versions."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from backend.core.fields import Description, Flag, ResourceName, Tags
from backend.datasets.columns import ColumnType

MAX_UPLOAD_BYTES = 16 * 1024**3
MIN_PART_BYTES = 1024
DEFAULT_PART_BYTES = 8 * 1024 * 1024
MAX_PARTS = 10_000
MAX_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps."""

Split = Literal["train", "validation", "test"]
DEFAULT_SPLITS: dict[Split, int | float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def _plain_name(name: str) -> str:
    if not name.isprintable() or name.startswith(".") or set(name) & set("/\\:"):
        raise ValueError("must be a plain name: no slash, no colon, no control character, no leading dot")
    return name


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("must have printable characters only")
    return name


def _whole(size: object) -> object:
    """JSON knows one kind of number: 20.0 is a count, while 1.0 is a fraction."""
    return int(size) if isinstance(size, float) and size > 1 and size.is_integer() else size


FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain_name)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_plain_name)]
ColumnName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True), AfterValidator(_printable)
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="lower-case hex")]
Size = Annotated[
    Annotated[int, Field(ge=0, strict=True)] | Annotated[float, Field(ge=0, le=1, strict=True, allow_inf_nan=False)],
    BeforeValidator(_whole),
]


class DatasetCreate(BaseModel):
    """A new dataset."""

    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    name: ResourceName
    kind: Literal["image", "tabular", "text"]
    description: Description = ""
    tags: Tags = Field(default_factory=dict)
    target_column: ColumnName | None = Field(default=None, description="of a table: what is to be predicted")
    column_types: dict[ColumnName, ColumnType] = Field(
        default_factory=dict, max_length=1000, description="of a table: types to insist on; the others are found"
    )


class DatasetUpdate(BaseModel):
    """Changes; what is left out stays. `tags` replaces all tags; an empty `target_column` takes it away."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    tags: Tags | None = None
    target_column: ColumnName | Literal[""] | None = None


class DatasetRead(BaseModel):
    """A dataset."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    project_id: UUID
    name: str
    kind: str
    description: str
    tags: dict[str, str]
    target_column: str | None
    column_types: dict[str, str]
    created_by: str
    created_at: datetime


class DatasetDetail(DatasetRead):
    """A dataset, and its images or texts per label. An example is an image, a row of a table, a text."""

    file_count: int
    example_count: int
    labels: dict[str, int]


class UploadCreate(BaseModel):
    """A file to be uploaded in parts, by the dataset's kind.

    `image`: a ZIP archive of `label/name.png`, or one image with its `label`. `tabular`: `.csv` or `.csv.gz` with a
    header. `text`: `.jsonl` of `{"text": …, "label": …}`, `.csv` with the columns text and label (both also `.gz`),
    a ZIP archive of `label/name.txt`, or one `.txt` with its `label`.
    """

    model_config = ConfigDict(extra="forbid")

    file_name: FileName
    size_bytes: int = Field(ge=1, le=MAX_UPLOAD_BYTES)
    sha256: Sha256
    part_size_bytes: int = Field(default=DEFAULT_PART_BYTES, ge=MIN_PART_BYTES)
    label: Label | None = None


class PartRead(BaseModel):
    """A stored part."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    size_bytes: int
    sha256: str


class UploadRead(BaseModel):
    """An upload. All parts have `part_size_bytes` but the last, which has `last_part_size_bytes`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    dataset_id: UUID
    file_name: str
    size_bytes: int
    sha256: str
    label: str | None
    part_size_bytes: int
    part_count: int
    last_part_size_bytes: int
    status: str
    status_reason: str
    errors: list[dict[str, Any]]
    file_count: int
    created_by: str
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None


class UploadDetail(UploadRead):
    """An upload and which of its parts are stored."""

    parts: list[PartRead]


class VersionCreate(BaseModel):
    """A split to freeze: sizes as counts (integers) or as fractions that sum to 1.

    Counts may sum to less than the dataset has: the rest is left out of the version.
    """

    model_config = ConfigDict(extra="forbid")

    splits: dict[Split, Size] = Field(
        default=DEFAULT_SPLITS,
        examples=[{"train": 3000, "validation": 1000, "test": 1000}],
    )
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    stratify: Flag = True
    tags: Tags = Field(default_factory=dict)


class VersionUpdate(BaseModel):
    """`tags` replaces all tags; nothing else of a version changes."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags


class VersionRead(BaseModel):
    """A dataset version. `classes`: examples per label and split; `splits`: examples per split.

    The files of a table's or texts' version are its splits, as Parquet.
    """

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    dataset_id: UUID
    kind: str
    number: int
    manifest_sha256: str
    manifest_bytes: int
    file_count: int
    example_count: int
    size_bytes: int
    target_column: str | None
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]
    split_seed: int
    tags: dict[str, str]
    created_by: str
    created_at: datetime


class FileRead(BaseModel):
    """A file of a version. Its content: `GET /api/v1/dataset-versions/{id}/files/{sha256}`.

    Width and height are an image's, in pixels; 0 of what is none.
    """

    model_config = ConfigDict(from_attributes=True)

    path: str
    sha256: str
    size_bytes: int
    label: str
    split: str
    width: int
    height: int
