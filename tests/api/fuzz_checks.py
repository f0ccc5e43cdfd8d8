"""A check of our own, loaded by schemathesis (SCHEMATHESIS_HOOKS): what the document allows is understood.

schemathesis takes any 422 to a valid request as a violation. Some of ours are facts that no schema can say (a cursor
that no list handed out, a split larger than the dataset) and have codes of their own; `invalid_request` is none.
"""

from typing import Any

import schemathesis

BEYOND_JSON_SCHEMA = {
    "POST /api/v1/datasets/{dataset_id}/uploads": "a plain file name is one of printable Unicode characters",
    "POST /api/v1/datasets/{dataset_id}/imports": "a plain file name is one of printable Unicode characters",
    "POST /api/v1/training-jobs": "an algorithm reads its own hyperparameters only",
    "POST /api/v1/training-jobs/estimate": "an algorithm reads its own hyperparameters only",
    "POST /api/v1/compression-jobs": "a method, a kind of pruning, or both",
    "POST /api/v1/compression-jobs/estimate": "a method, a kind of pruning, or both",
    "POST /api/v1/datasets": "a column's name is one of printable Unicode characters",
    "PATCH /api/v1/datasets/{dataset_id}": "a column's name is one of printable Unicode characters",
    "PATCH /api/v1/endpoints/{endpoint_id}/weights": "decimals of a number cannot be bounded",
    "POST /api/v1/endpoints": "decimals of a number cannot be bounded",
    "PUT /api/v1/endpoints/{endpoint_id}/config": "decimals of a number cannot be bounded",
}


@schemathesis.check
def valid_data_is_understood(_context: Any, response: Any, case: Any) -> None:
    """A request made by the document's schemas is not `invalid_request`."""
    made = case.meta.generation.mode if case.meta is not None else None
    if (
        made is None
        or not made.is_positive
        or response.status_code != 422
        or case.operation.label in BEYOND_JSON_SCHEMA
    ):
        return
    found = response.json()
    assert found["code"] != "invalid_request", f"refused although the document allows it: {found['detail']}"
