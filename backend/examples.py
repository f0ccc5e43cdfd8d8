"""Requests to begin with: the examples of the OpenAPI document, each of which runs (`tests/api/test_examples.py`).

Ids stand for those of the reader's own things: a project, a dataset version, a model version.
"""

from collections.abc import Mapping
from typing import Any

PROJECT = "01900000-0000-7000-8000-000000000001"
DATASET_VERSION = "01900000-0000-7000-8000-000000000002"
MODEL_VERSION = "01900000-0000-7000-8000-000000000003"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Examples = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By operation, such as `POST /api/v1/projects`: summary by body."""

EXAMPLES: Examples = {
    "POST /api/v1/projects": {"A project": {"name": "digits", "description": "handwritten digits"}},
    "POST /api/v1/api-keys": {
        "A key like your own": {"name": "notebook"},
        "For an application that asks endpoints": {"name": "web-shop", "role": "developer", "scopes": ["invoke"]},
    },
    "POST /api/v1/members": {
        "Somebody who only looks": {"email": "ada@example.org", "full_name": "Ada Lovelace", "role": "viewer"}
    },
    "POST /api/v1/datasets": {"Images": {"project_id": PROJECT, "name": "mnist", "kind": "image"}},
    "POST /api/v1/datasets/{dataset_id}/uploads": {
        "An archive of label/name.png": {"file_name": "digits.zip", "size_bytes": 1_048_576, "sha256": SHA256},
        "One image": {"file_name": "7.png", "size_bytes": 300, "sha256": SHA256, "label": "seven"},
    },
    "POST /api/v1/datasets/{dataset_id}/versions": {
        "Fractions": {"splits": {"train": 0.6, "validation": 0.2, "test": 0.2}, "seed": 1},
        "Counts": {"splits": {"train": 18, "validation": 6, "test": 6}},
    },
    "POST /api/v1/training-jobs": {
        "With defaults": {
            "project_id": PROJECT,
            "name": "first-training",
            "dataset_version_id": DATASET_VERSION,
            "model_name": "digits",
        },
        "On spot capacity, with a time limit": {
            "project_id": PROJECT,
            "name": "spot-training",
            "dataset_version_id": DATASET_VERSION,
            "model_name": "digits",
            "market": "spot",
            "max_runtime_seconds": 3600,
            "hyperparameters": {"epochs": 3},
            "tags": {"team": "vision"},
        },
    },
    "POST /api/v1/training-jobs/estimate": {
        "On a laptop": {"project_id": PROJECT, "dataset_version_id": DATASET_VERSION, "instance_type": "local.cpu"}
    },
    "POST /api/v1/compression-jobs": {
        "To int8": {
            "project_id": PROJECT,
            "name": "digits-int8",
            "model_version_id": MODEL_VERSION,
            "dataset_version_id": DATASET_VERSION,
        }
    },
    "POST /api/v1/sleep-jobs": {
        "A job that only waits": {"project_id": PROJECT, "name": "nap", "parameters": {"seconds": 2}}
    },
    "POST /api/v1/compression-jobs/estimate": {
        "What it would take": {
            "project_id": PROJECT,
            "model_version_id": MODEL_VERSION,
            "instance_type": "local.cpu",
        }
    },
    "POST /api/v1/endpoints": {
        "Two variants": {
            "project_id": PROJECT,
            "name": "digits",
            "instance_type": "local.cpu",
            "variants": [
                {"name": "fp32", "model_version_id": MODEL_VERSION, "weight": 70},
                {"name": "int8", "model_version_id": MODEL_VERSION, "weight": 30},
            ],
        }
    },
    "PATCH /api/v1/endpoints/{endpoint_id}/weights": {"Half and half": {"weights": {"fp32": 50, "int8": 50}}},
    "POST /api/v1/budgets": {"A limit that stops new spending": {"amount": "50", "hold_at_limit": True}},
    "POST /api/v1/event-subscriptions": {
        "A webhook": {
            "target": "https://example.com/hooks/modelyard",
            "event_types": ["job.completed", "job.failed", "endpoint.*"],
        }
    },
    "POST /api/v1/admin/prices/preview": {"What it would change": {"sku": "inference:call", "amount": "0.0000005"}},
    "POST /api/v1/admin/prices": {
        "From a later moment on": {
            "sku": "inference:call",
            "amount": "0.0000005",
            "effective_from": "2100-01-01T00:00:00Z",
        }
    },
    "PATCH /api/v1/admin/organizations/{organization_id}/limits": {
        "A rate and a quota": {"requests_per_minute": 600, "quotas": {"*": 8}},
        "As usual again": {"requests_per_minute": None, "quotas": {"*": None}},
    },
    "PATCH /api/v1/event-subscriptions/{subscription_id}": {
        "Other events": {"event_types": ["job.*"]},
        "Send nothing": {"enabled": False},
    },
}


def described(operation: str) -> dict[str, Any] | None:
    """The examples of an operation as OpenAPI 3.1 writes them; None = it has none."""
    bodies = EXAMPLES.get(operation)
    if bodies is None:
        return None
    pairs = enumerate(bodies.items(), 1)
    return {f"example-{number}": {"summary": name, "value": body} for number, (name, body) in pairs}
