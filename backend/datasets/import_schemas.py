"""What the API takes and gives about imports."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from backend.datasets.schemas import FileName, Label


def _header_value(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must have printable ASCII characters only")
    return secret


Secret = Annotated[SecretStr, Field(min_length=1, max_length=8192)]


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
        str,
        StringConstraints(min_length=1, max_length=4096, pattern=r"^(https?://[!-~]+|s3://[^\x00-\x1f\x7f]+)$"),
        Field(examples=["https://data.example.org/wine.csv"]),
    ]
    file_name: FileName | None = None
    label: Label | None = None
    endpoint_url: Annotated[str, StringConstraints(max_length=255, pattern=r"^https?://[!-~]+$")] | None = None
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] | None = None
    credentials: S3Credentials | HttpCredentials | None = None


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
