"""What can stop a use case of the registry.

NotFound      ModelNotFound · ModelVersionNotFound · ArtifactFileNotFound · EvaluationNotFound
Conflict      ModelNameTaken · AlreadyReviewed
InternalFact  ArtifactInvalid
"""

from backend.core.errors import Conflict, InternalFact, NotFound


class ModelNotFound(NotFound):
    """No such model in this organization."""

    code = "model_not_found"
    title = "Model not found"
    remedy = "GET /api/v1/models lists your models"


class ModelVersionNotFound(NotFound):
    """No such model version in this organization."""

    code = "model_version_not_found"
    title = "Model version not found"
    remedy = "GET /api/v1/models/{model_id}/versions lists them"


class ArtifactFileNotFound(NotFound):
    """The model version has no file of this name."""

    code = "artifact_file_not_found"
    title = "File not found"
    remedy = "GET /api/v1/model-versions/{version_id} names its files"


class EvaluationNotFound(NotFound):
    """Nothing is known of what the model version gets right and wrong, or it cannot be read."""

    code = "evaluation_not_found"
    title = "No evaluation"
    remedy = "train or compress again: every version made since has one"


class ModelNameTaken(Conflict):
    """A model of this name belongs to another project of the organization."""

    code = "model_name_taken"
    title = "The name is taken"
    remedy = "choose another `model_name`"


class AlreadyReviewed(Conflict):
    """The version has this approval status."""

    code = "already_reviewed"
    title = "Already reviewed"
    remedy = "nothing is left to do: the version has this status"


class ArtifactInvalid(InternalFact):
    """The artifact's files cannot make a model version."""
