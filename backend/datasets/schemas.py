"""What the API takes and gives about datasets, uploads and versions."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
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


def _header_value(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must have printable ASCII characters only")
    return secret


def _whole(size: object) -> object:
    """JSON knows one kind of number: 20.0 is a count, while 1.0 is a fraction."""
    return int(size) if isinstance(size, float) and size > 1 and size.is_integer() else size


Cell = bool | int | float | str
"""A value of a table."""

FileName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain_name)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_plain_name)]
ColumnName = Annotated[
    str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True), AfterValidator(_printable)
]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=8192)]
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

    @model_validator(mode="after")
    def _refuse_columns_of_what_has_none(self) -> Self:
        if self.kind != "tabular" and (self.target_column is not None or self.column_types):
            raise ValueError("only a dataset of kind 'tabular' has columns")
        return self


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


class S3Credentials(BaseModel):
    """Of a store that speaks S3."""

    model_config = ConfigDict(extra="forbid")

    access_key_id: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
    secret_access_key: Secret
    session_token: Secret | None = None


class HttpCredentials(BaseModel):
    """The header `Authorization` of an https source; not sent to another host it redirects to."""

    model_config = ConfigDict(extra="forbid")

    authorization: Annotated[SecretStr, Field(min_length=1, max_length=8192), AfterValidator(_header_value)]


class ImportCreate(BaseModel):
    """A file to fetch: from `https://…`, or from `s3://bucket/key`.

    `endpoint_url` and `region` are an S3 store's; without, AWS's in us-east-1. What the file may be is what an upload
    may be; its name is the address's last part unless `file_name` says otherwise. Address and credentials are kept
    encrypted and forgotten when the import ends.
    """

    model_config = ConfigDict(extra="forbid")

    source: Annotated[
        str, StringConstraints(min_length=1, max_length=4096, pattern=r"^(https?://[!-~]+|s3://[^\x00-\x1f\x7f]+)$")
    ]
    file_name: FileName | None = None
    label: Label | None = None
    endpoint_url: Annotated[str, StringConstraints(max_length=255, pattern=r"^https?://[!-~]+$")] | None = None
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    credentials: S3Credentials | HttpCredentials | None = None

    @model_validator(mode="after")
    def _refuse_what_does_not_fit_the_source(self) -> Self:
        is_s3 = self.source.startswith("s3://")
        if not is_s3 and (self.endpoint_url is not None or self.region is not None):
            raise ValueError("only an s3:// source has an endpoint and a region")
        if self.credentials is not None and isinstance(self.credentials, S3Credentials) != is_s3:
            raise ValueError("these credentials are not for such a source")
        return self


class ImportRead(BaseModel):
    """An import. `source` is the address without its query; `size_bytes` is null until the source has said it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    dataset_id: UUID
    source: str
    file_name: str
    label: str | None
    status: str
    status_reason: str
    errors: list[dict[str, Any]]
    received_bytes: int
    size_bytes: int | None
    file_count: int
    created_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


# --- previews ---


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
