"""Causes in the public API: datasets, uploads, models, endpoints."""

from typing import Any

from tests.catalogue.cause import NOBODY, Call, Cause, delete, get, patch, post, put
from tests.catalogue.files import open_upload

PROJECT = {"project_id": "{project_id}"}
NO_DIGEST = "0" * 64
JOB = {**PROJECT, "name": "of-rows", "instance_type": "{instance_type}"}


def variants(*weights: int, version: str = "{model_version_id}", names: str = "ab") -> dict[str, Any]:
    """The config of an endpoint."""
    listed = [
        {"name": name, "model_version_id": "{model_version_id}" if number == 0 else version, "weight": weight}
        for number, (name, weight) in enumerate(zip(names, weights, strict=False))
    ]
    return {"instance_type": "{instance_type}", "variants": listed}


DATASETS = (
    Cause("dataset_not_found", get(f"/datasets/{NOBODY}")),
    Cause("dataset_name_taken", post("/datasets", {**PROJECT, "name": "digits", "kind": "image"})),
    Cause("dataset_kind_unusable",
          post("/training-jobs", {**JOB, "dataset_version_id": "{table_id}", "model_name": "table"}), before=(
        post("/datasets", {**PROJECT, "name": "table", "kind": "tabular"}, saves={"dataset_of_rows_id": "id"}),
        open_upload("table.csv", "{dataset_of_rows_id}"),
        put("/uploads/{own_id}/parts/1", file="table.csv"),
        post("/uploads/{own_id}/complete"),
        post("/datasets/{dataset_of_rows_id}/versions", {"splits": {"train": 2}}, saves={"table_id": "id"}))),
    Cause("target_invalid", patch("/datasets/{dataset_id}", {"target_column": "species"})),
    Cause("file_not_in_dataset", get(f"/datasets/{{dataset_id}}/files/{NO_DIGEST}")),
    Cause("import_source_refused", post("/datasets/{dataset_id}/imports", {"source": "https://169.254.169.254/a.zip"})),
    Cause("import_not_found", get(f"/imports/{NOBODY}")),
    Cause("import_ended", post("/imports/{ended_import_id}/cancel"), stage="import_ended"),
    Cause("dataset_has_versions", delete("/datasets/{dataset_id}")),
    Cause("dataset_version_not_found", get(f"/dataset-versions/{NOBODY}")),
    Cause("file_not_in_version", get(f"/dataset-versions/{{version_id}}/files/{NO_DIGEST}")),
    Cause("split_invalid", post("/datasets/{dataset_id}/versions", {"splits": {"train": 0, "test": 5}})),
    Cause("too_few_files", post("/datasets/{dataset_id}/versions", {"splits": {"train": 1000}})),
    Cause("single_class", post("/datasets/{empty_id}/versions", {"splits": {"train": 1}}), before=(
        post("/datasets", {**PROJECT, "name": "zeros", "kind": "image"}, saves={"empty_id": "id"}),
        open_upload("zero.png", "{empty_id}", label="zero"),
        put("/uploads/{own_id}/parts/1", file="zero.png"),
        post("/uploads/{own_id}/complete"))),
)  # fmt: skip

UPLOADS = (
    Cause("upload_not_found", get(f"/uploads/{NOBODY}")),
    Cause("upload_invalid", post("/datasets/{dataset_id}/uploads", {
        "file_name": "a.zip", "size_bytes": 16 * 1024**3, "sha256": NO_DIGEST, "part_size_bytes": 1024})),
    Cause("upload_incomplete", post("/uploads/{upload_id}/complete")),
    Cause("upload_not_open", post("/uploads/{own_id}/complete"),
          before=(open_upload("part.bin"), delete("/uploads/{own_id}"))),
    Cause("part_number_unknown", put("/uploads/{own_id}/parts/2", file="part.bin"), before=(open_upload("part.bin"),)),
    Cause("part_size_mismatch", put("/uploads/{own_id}/parts/1", file="2049.bin"), before=(open_upload("part.bin"),)),
    Cause("truncated_body", put("/uploads/{own_id}/parts/1", file="part.bin", breaks_off=True),
          before=(open_upload("part.bin"),)),
    Cause("checksum_mismatch",
          put("/uploads/{own_id}/parts/1", file="part.bin", headers={"X-Content-SHA256": NO_DIGEST}),
          before=(open_upload("part.bin"),)),
    Cause("checksum_mismatch", post("/uploads/{own_id}/complete"),
          before=(open_upload("part.bin", sha256=NO_DIGEST), put("/uploads/{own_id}/parts/1", file="part.bin"))),
    Cause("invalid_files", post("/uploads/{own_id}/complete"),
          before=(open_upload("letter.txt"), put("/uploads/{own_id}/parts/1", file="letter.txt"))),
)  # fmt: skip

MODELS = (
    Cause("model_not_found", get(f"/models/{NOBODY}")),
    Cause("model_version_not_found", get(f"/model-versions/{NOBODY}")),
    Cause("artifact_file_not_found", get("/model-versions/{model_version_id}/files/none.onnx")),
    Cause("evaluation_not_found", get("/model-versions/{rejected_id}/evaluation"), stage="versions"),
    Cause("already_reviewed", post("/model-versions/{rejected_id}/reject"), stage="versions"),
    Cause("object_not_found", get("/model-versions/{lost_id}/files/model.onnx"), stage="versions"),
)

ENDPOINTS = (
    Cause("endpoint_not_found", get(f"/endpoints/{NOBODY}")),
    Cause("endpoint_name_taken", post("/endpoints", {**PROJECT, **variants(1), "name": "digits"})),
    Cause("variants_invalid", post("/endpoints", {**PROJECT, **variants(0, 0), "name": "idle"})),
    Cause("variants_invalid", post("/endpoints", {**PROJECT, **variants(1, 1, names="aa"), "name": "twins"})),
    Cause("signature_mismatch",
          post("/endpoints", {**PROJECT, **variants(1, 1, version="{other_signature_id}"), "name": "mixed"}),
          stage="versions"),
    Cause("model_version_rejected",
          post("/endpoints", {**PROJECT, **variants(1, 1, version="{rejected_id}"), "name": "refused"}),
          stage="versions"),
    Cause("model_version_not_approved",
          post("/endpoints", {**PROJECT, **variants(1, 1, version="{pending_id}"), "name": "guarded",
                              "protected": True}),
          stage="versions"),
    Cause("variant_unknown", patch("/endpoints/{endpoint_id}/weights", {"weights": {"none": 1}})),
    Cause("endpoint_changed",
          Call("PATCH", "/api/v1/endpoints/{endpoint_id}/weights", {"weights": {"a": 2}},
               headers={"If-Match": '"99"'})),
    Cause("endpoint_being_deleted", patch("/endpoints/{gone_id}/weights", {"weights": {"a": 2}}), before=(
        post("/endpoints", {**PROJECT, **variants(1), "name": "leaving"}, saves={"gone_id": "id"}),
        delete("/endpoints/{gone_id}"))),
    Cause("traffic_period_invalid",
          get("/endpoints/{endpoint_id}/traffic?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z")),
)  # fmt: skip

HOOK = {"target": "https://receiver.invalid/hook", "event_types": ["job.completed"]}
SUBSCRIBED = post("/event-subscriptions", HOOK, saves={"own_id": "id"})

EVENTS = (
    Cause("event_subscription_not_found", get(f"/event-subscriptions/{NOBODY}")),
    Cause("event_delivery_not_found", get(f"/event-deliveries/{NOBODY}")),
    Cause("event_target_refused", post("/event-subscriptions", {**HOOK, "target": "https://169.254.169.254/"})),
    Cause("event_target_refused", post("/event-subscriptions", {**HOOK, "target": "http://example.com/"})),
    Cause("email_not_configured",
          post("/event-subscriptions", {**HOOK, "channel": "email", "target": "ada@example.com"})),
    Cause("too_many_event_subscriptions", post("/event-subscriptions", HOOK), stage="fifty_subscriptions"),
    Cause("event_subscription_disabled", post("/event-subscriptions/{own_id}/test"),
          before=(SUBSCRIBED, patch("/event-subscriptions/{own_id}", {"enabled": False}))),
    Cause("event_delivery_pending", post("/event-deliveries/{sent_id}/replay"),
          before=(SUBSCRIBED, post("/event-subscriptions/{own_id}/test", saves={"sent_id": "id"}))),
    Cause("lineage_not_found", get(f"/lineage/job/{NOBODY}")),
)  # fmt: skip
