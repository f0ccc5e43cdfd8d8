"""What the API takes and gives about models and their versions."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backend.core.fields import Description, Tags

ApprovalStatus = Literal["pending", "approved", "rejected"]


class ModelUpdate(BaseModel):
    """Changes; what is left out stays. `tags` replaces all tags."""

    model_config = ConfigDict(extra="forbid")

    description: Description | None = None
    tags: Tags | None = None


class VersionUpdate(BaseModel):
    """`tags` replaces all tags; nothing else of a version changes but its approval status."""

    model_config = ConfigDict(extra="forbid")

    tags: Tags


class Review(BaseModel):
    """Why a version is approved or rejected."""

    model_config = ConfigDict(extra="forbid")

    reason: Description = ""


class ArtifactFile(BaseModel):
    """A file of an artifact. Its content: `GET /api/v1/model-versions/{id}/files/{name}`."""

    name: str
    sha256: str
    size_bytes: int


class ModelVersionRead(BaseModel):
    """A model version. `size_bytes`: of `model.onnx`, what an endpoint loads."""

    model_config = ConfigDict(from_attributes=True, protected_namespaces=())

    id: UUID
    model_id: UUID
    number: int
    files: list[ArtifactFile]
    size_bytes: int
    signature: dict[str, Any]
    metrics: dict[str, Any]
    report: dict[str, Any]
    approval_status: ApprovalStatus
    job_id: UUID | None = Field(description="the job that made it")
    attempt_id: UUID | None
    dataset_version_id: UUID | None
    parent_version_id: UUID | None = Field(description="the version it was compressed from")
    tags: dict[str, str]
    created_at: datetime


class ModelVersionDetail(ModelVersionRead):
    """A model version, and the name of its model."""

    model_name: str


class EventView(BaseModel):
    """One change of the approval status."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    from_status: str | None
    to_status: str
    reason: str
    actor: str


class EventList(BaseModel):
    """Changes of the approval status, oldest first."""

    items: list[EventView]


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Label = Annotated[str, StringConstraints(max_length=1000)]


class ClassFigures(BaseModel):
    """One class. precision: right among those predicted so; recall: right among its images; null: there are none."""

    label: Label
    images: Count
    predicted: Count
    precision: Share | None
    recall: Share | None
    f1: Share


class Probability(BaseModel):
    """What the model gives one class."""

    label: Label
    probability: Share


class Mistake(BaseModel):
    """An image that is taken for another class. Its content: `GET /api/v1/dataset-versions/{id}/files/{sha256}`."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    path: Annotated[str, StringConstraints(max_length=4096)]
    truth: Label
    prediction: Label
    confidence: Share
    probabilities: Annotated[list[Probability], Field(max_length=100)]


class Evaluation(BaseModel):
    """What a version gets right and wrong on the images it was not trained on."""

    split: Literal["validation", "test"]
    images: Count
    accuracy: Share
    class_count: Count
    classes: Annotated[list[Label], Field(description="of `matrix`; empty with more than 200 classes")]
    matrix: Annotated[list[list[Count]], Field(description="counts by [truth][prediction], in the order of `classes`")]
    per_class: Annotated[list[ClassFigures], Field(description="with more than 200 classes, those with the lowest f1")]
    mistake_count: Count
    mistakes: Annotated[list[Mistake], Field(max_length=100, description="the worst, most confident first")]

    @model_validator(mode="after")
    def _is_square(self) -> "Evaluation":
        side = len(self.classes)
        if len(self.matrix) != side or any(len(row) != side for row in self.matrix):
            raise ValueError("the matrix has a row and a column for each class")
        return self


class ModelRead(BaseModel):
    """A model and its newest version; a model always has one."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    project_id: UUID
    name: str
    description: str
    tags: dict[str, str]
    created_by: str
    created_at: datetime
    newest_version: ModelVersionRead | None
