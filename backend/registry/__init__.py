"""The registry: models and their immutable versions.

A *model* is a name, unique in the organization. A *version* is an artifact that some job made: its files by
digest, the signature of its inputs and outputs, metrics, what the job measured (`report`), and where it comes
from: job, attempt, dataset version, and the version it was compressed from. Versions are numbered per model
from 1 without gaps: whoever adds one holds the model's row. A job registers at most one version, however
often it is told to.

A version is born `pending`; people approve or reject it, and may change their mind. Nothing else of it ever
changes but its tags.
"""
