"""Facts of compression jobs."""

from backend.core.errors import Invalid


class DatasetVersionNeeded(Invalid):
    """The model version does not say what it was trained on, so the gate needs to be told what to measure with."""

    code = "dataset_version_needed"
    title = "A dataset version is needed"
    remedy = "name a dataset version in `dataset_version_id`"
