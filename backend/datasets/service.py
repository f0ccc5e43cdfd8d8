"""What others call. The use cases stand in modules of their own.

`catalog`: datasets, and versions and blobs as other domains see them. `overview`: what pages show of them.
`uploads` and `versions` do slow work on objects and take the database rather than a session. `sweep` is the control
worker's.
"""

from backend.datasets.catalog import (
    blob_sizes,
    check_trainable,
    count_contents,
    count_labels,
    create_dataset,
    dataset_channel,
    delete_dataset,
    find_named,
    get_dataset,
    get_version,
    list_datasets,
    record_blob,
    update_dataset,
    version_digests,
)
from backend.datasets.imports import cancel_import, get_import, list_imports, start_import
from backend.datasets.overview import (
    browse_files,
    count_dataset,
    count_files,
    find_file,
    newest_versions,
    open_uploads,
    plan_version,
    search_datasets,
)
from backend.datasets.previews import describe_file, preview_dataset, preview_version
from backend.datasets.sweep import expire_uploads, remove_orphans, remove_orphans_of_imports
from backend.datasets.uploads import (
    abort_upload,
    complete_upload,
    expected_part_bytes,
    get_upload,
    list_uploads,
    open_upload,
    remove_parts,
    store_part,
)
from backend.datasets.versions import (
    compare_versions,
    create_version,
    find_in_version,
    list_files,
    list_versions,
    open_file,
    tag_version,
    versions_to_choose,
)

__all__ = [
    "abort_upload",
    "blob_sizes",
    "browse_files",
    "cancel_import",
    "check_trainable",
    "compare_versions",
    "complete_upload",
    "count_contents",
    "count_dataset",
    "count_files",
    "count_labels",
    "create_dataset",
    "create_version",
    "dataset_channel",
    "delete_dataset",
    "describe_file",
    "expected_part_bytes",
    "expire_uploads",
    "find_file",
    "find_in_version",
    "find_named",
    "get_dataset",
    "get_import",
    "get_upload",
    "get_version",
    "list_datasets",
    "list_files",
    "list_imports",
    "list_uploads",
    "list_versions",
    "newest_versions",
    "open_file",
    "open_upload",
    "open_uploads",
    "plan_version",
    "preview_dataset",
    "preview_version",
    "record_blob",
    "remove_orphans",
    "remove_orphans_of_imports",
    "remove_parts",
    "search_datasets",
    "start_import",
    "store_part",
    "tag_version",
    "update_dataset",
    "version_digests",
    "versions_to_choose",
]
