"""What can stop a use case of datasets.

NotFound      DatasetNotFound · DatasetVersionNotFound · UploadNotFound · FileNotInVersion · FileNotInDataset
              ImportNotFound
Conflict      DatasetNameTaken · DatasetHasVersions · UploadNotOpen · UploadIncomplete · ImportEnded
Invalid       DatasetKindUnusable · TargetInvalid · PartNumberUnknown · PartSizeMismatch · TruncatedBody · UploadInvalid
              InvalidFiles · ImportSourceRefused · SingleClass · TooFewFiles · SplitInvalid
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


class FileNotInDataset(NotFound):
    """The dataset holds no file with this digest."""

    code = "file_not_in_dataset"
    title = "File not in this dataset"
    remedy = "GET /api/v1/datasets/{dataset_id}/preview names some"


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


class ImportNotFound(NotFound):
    """No such import in this organization."""

    code = "import_not_found"
    title = "Import not found"
    remedy = "GET /api/v1/datasets/{dataset_id}/imports lists them"


class ImportEnded(Conflict):
    """The import has ended, and cannot be cancelled any more."""

    code = "import_ended"
    title = "The import has ended"
    remedy = "start another import"


class ImportSourceRefused(Invalid):
    """The address is not one that imports may read from."""

    code = "import_source_refused"
    title = "The source is refused"
    remedy = "give an https:// address on the internet or s3://bucket/key, and ask the operator about internal hosts"


class UploadIncomplete(Conflict):
    """Parts are missing."""

    code = "upload_incomplete"
    title = "Parts are missing"
    remedy = "put the missing parts, then complete the upload again"


class DatasetKindUnusable(Invalid):
    """The job reads datasets of another kind."""

    code = "dataset_kind_unusable"
    title = "A dataset of this kind cannot be used here"
    remedy = "use a version of a dataset of kind `image`"


class TargetInvalid(Invalid):
    """The target column is missing, has rows without a value, or too many classes."""

    code = "target_invalid"
    title = "The target column is not valid"
    remedy = "name a column of the table that has a value in every row"


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
