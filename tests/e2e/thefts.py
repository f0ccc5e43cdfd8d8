"""What a stranger sends to the addresses of another organization; in braces the ids that are put in."""

from typing import Any

CONFIG = {
    "instance_type": "local.cpu",
    "variants": [{"name": "one", "model_version_id": "{model_version}", "weight": 1}],
}
BODIES: dict[str, Any] = {
    "PATCH /api/v1/projects/{project_id}": {"description": "mine now"},
    "PATCH /api/v1/datasets/{dataset_id}": {"description": "mine now"},
    "PATCH /api/v1/dataset-versions/{version_id}": {"tags": {"mine": "now"}},
    "PATCH /api/v1/models/{model_id}": {"description": "mine now"},
    "PATCH /api/v1/model-versions/{version_id}": {"tags": {"mine": "now"}},
    "PATCH /api/v1/endpoints/{endpoint_id}/weights": {"weights": {"blue": 1}},
    "PUT /api/v1/endpoints/{endpoint_id}/config": CONFIG,
    "PATCH /api/v1/budgets/{budget_id}": {"amount": "1"},
    "PATCH /api/v1/members/{user_id}": {"role": "viewer"},
    "PATCH /api/v1/endpoints/{endpoint_id}": {"tags": {"mine": "now"}},
    "PATCH /api/v1/event-subscriptions/{subscription_id}": {"description": "mine now"},
    "POST /api/v1/datasets/{dataset_id}/imports": {"source": "https://files.invalid/a.zip"},
    "POST /api/v1/datasets/{dataset_id}/versions": {"splits": {"train": 1.0}},
    "POST /api/v1/datasets/{dataset_id}/uploads": {"file_name": "a.zip", "size_bytes": 9, "sha256": "0" * 64},
}
CREATIONS: dict[str, list[dict[str, Any]]] = {
    "/api/v1/sleep-jobs": [{"project_id": "{project_id}"}],
    "/api/v1/datasets": [{"project_id": "{project_id}", "kind": "image"}],
    "/api/v1/budgets": [{"project_id": "{project_id}", "amount": "1"}],
    "/api/v1/training-jobs": [
        {"project_id": "{project_id}", "dataset_version_id": "{dataset_version}", "model_name": "stolen"},
        {"project_id": "{own_project}", "dataset_version_id": "{dataset_version}", "model_name": "stolen"},
    ],
    "/api/v1/training-jobs/estimate": [{"project_id": "{own_project}", "dataset_version_id": "{dataset_version}"}],
    "/api/v1/compression-jobs": [
        {"project_id": "{project_id}", "model_version_id": "{model_version}"},
        {"project_id": "{own_project}", "model_version_id": "{model_version}"},
    ],
    "/api/v1/compression-jobs/estimate": [{"project_id": "{own_project}", "model_version_id": "{model_version}"}],
    "/api/v1/endpoints": [{"project_id": "{project_id}", **CONFIG}, {"project_id": "{own_project}", **CONFIG}],
}
