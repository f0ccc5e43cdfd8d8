"""What can stop a use case of the registry.

NotFound      ModelNotFound · ModelVersionNotFound · ArtifactFileNotFound
Conflict      ModelNameTaken · AlreadyReviewed
Invalid       ArtifactInvalid
"""

from backend.core.errors import Conflict, Invalid, NotFound


class ModelNotFound(NotFound):
    """No such model in this organization."""

    code = "model_not_found"


class ModelVersionNotFound(NotFound):
    """No such model version in this organization."""

    code = "model_version_not_found"


class ArtifactFileNotFound(NotFound):
    """The model version has no file of this name."""

    code = "artifact_file_not_found"


class ModelNameTaken(Conflict):
    """A model of this name belongs to another project of the organization."""

    code = "model_name_taken"
    title = "The name is taken"


class AlreadyReviewed(Conflict):
    """The version has this approval status."""

    code = "already_reviewed"
    title = "Already reviewed"


class ArtifactInvalid(Invalid):
    """The artifact's files cannot make a model version."""

    code = "artifact_invalid"
    title = "The artifact is not valid"
