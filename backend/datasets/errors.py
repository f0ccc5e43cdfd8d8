"""What can stop a use case of datasets.

NotFound      DatasetNotFound · DatasetVersionNotFound · UploadNotFound · FileNotInVersion
Conflict      DatasetNameTaken · DatasetHasVersions · UploadNotOpen · UploadIncomplete
Invalid       DatasetKindUnavailable · PartNumberUnknown · PartSizeMismatch · TruncatedBody · UploadInvalid
              InvalidFiles · SingleClass · TooFewFiles · SplitInvalid
"""

from backend.core.errors import Conflict, Invalid, NotFound


class DatasetNotFound(NotFound):
    """No such dataset in this organization."""

    code = "dataset_not_found"
    title = "Dataset not found"
    remedy = "GET /api/v1/datasets lists your datasets"


class DatasetVersionNotFound(NotFound):
    """No such dataset version in this organization."""

    code = "dataset_version_not_found"
    title = "Dataset version not found"
    remedy = "GET /api/v1/datasets/{dataset_id}/versions lists them"


class UploadNotFound(NotFound):
    """No such upload in this organization."""

    code = "upload_not_found"
    title = "Upload not found"
    remedy = "GET /api/v1/datasets/{dataset_id}/uploads lists them"


class FileNotInVersion(NotFound):
    """The dataset version holds no file with this digest."""

    code = "file_not_in_version"
    title = "File not in this version"
    remedy = "GET /api/v1/dataset-versions/{version_id}/files lists them"


class DatasetNameTaken(Conflict):
    """The project has a dataset of this name."""

    code = "dataset_name_taken"
    title = "The name is taken"
    remedy = "choose another name, or use the dataset that has it"


class DatasetHasVersions(Conflict):
    """Versions are immutable, and so is the dataset they belong to."""

    code = "dataset_has_versions"
    title = "The dataset has versions"
    remedy = "keep it, or make another dataset"


class UploadNotOpen(Conflict):
    """The upload has ended, or was open for too long."""

    code = "upload_not_open"
    title = "The upload is not open"
    remedy = "open a new upload"


class UploadIncomplete(Conflict):
    """Parts are missing."""

    code = "upload_incomplete"
    title = "Parts are missing"
    remedy = "put the missing parts, then complete the upload again"


class DatasetKindUnavailable(Invalid):
    """This kind of dataset is not built."""

    code = "dataset_kind_unavailable"
    title = "This kind of dataset is not available"
    remedy = "use kind `image`"


class PartNumberUnknown(Invalid):
    """The upload has no part of this number."""

    code = "part_number_unknown"
    title = "No such part"
    remedy = "number the parts from 1 to the upload's `part_count`"


class PartSizeMismatch(Invalid):
    """A part has exactly the size the upload gives it."""

    code = "part_size_mismatch"
    title = "Part size mismatch"
    remedy = "send `part_size_bytes` bytes, and `last_part_size_bytes` in the last part"


class TruncatedBody(Invalid):
    """The connection ended before the body did."""

    code = "truncated_body"
    title = "Truncated body"
    remedy = "send the whole part again"


class UploadInvalid(Invalid):
    """An upload cannot be cut into such parts."""

    code = "upload_invalid"
    title = "The upload is not valid"
    remedy = "choose another `part_size_bytes`"


class InvalidFiles(Invalid):
    """The uploaded file cannot become files of the dataset. `errors`: [{path, code, message}], up to 100."""

    code = "invalid_files"
    title = "Some files are not valid"
    remedy = "mend or leave out the files that `errors` names, then upload again"


class SingleClass(Invalid):
    """A classifier needs at least two labels."""

    code = "single_class"
    title = "Only one class"
    remedy = "upload files of a second label"


class TooFewFiles(Invalid):
    """The dataset has fewer files than the split asks for."""

    code = "too_few_files"
    title = "Too few files"
    remedy = "upload more files, or ask for a smaller split"


class SplitInvalid(Invalid):
    """The sizes of the split contradict each other."""

    code = "split_invalid"
    title = "The split is not valid"
    remedy = "give train a share above 0, and let fractions sum to 1"
