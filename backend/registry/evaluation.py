"""What a job found out about the version it made: `evaluation.json` among its files.

The file was written by a job process: it is read like any other input, bounded and checked.
"""

from pydantic import ValidationError

from backend.core.storage import ObjectStore
from backend.core.wire import FileRef
from backend.registry.errors import EvaluationNotFound
from backend.registry.models import ModelVersion
from backend.registry.schemas import Evaluation

EVALUATION_FILE = "evaluation.json"
MAX_BYTES = 4 * 1024 * 1024


def read_evaluation(storage: ObjectStore, version: ModelVersion) -> Evaluation:
    """Counts by truth and prediction, figures by class, the worst mistakes. Call it with no session open.

    Raises EvaluationNotFound (404), ObjectMissing, StorageUnavailable.
    """
    file = _file(version)
    if file is None:
        raise EvaluationNotFound(f"version {version.number} has no {EVALUATION_FILE}")
    if file.size_bytes > MAX_BYTES:
        raise EvaluationNotFound(f"{EVALUATION_FILE} is larger than {MAX_BYTES} bytes")
    content = storage.get_blob(version.organization_id, file.sha256)
    try:
        return Evaluation.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvaluationNotFound(f"{EVALUATION_FILE} is none: {where or 'it'}: {first['msg']}") from error


def has_evaluation(version: ModelVersion) -> bool:
    """Whether it has the file at all."""
    return _file(version) is not None


def _file(version: ModelVersion) -> FileRef | None:
    found = (one for one in version.files if one["name"] == EVALUATION_FILE)
    return next((FileRef(**one) for one in found), None)
