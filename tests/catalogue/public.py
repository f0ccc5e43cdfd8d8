"""Causes in the public API: what every route shares, identity, projects, billing."""

from tests.catalogue.cause import NOBODY, Call, Cause, delete, get, post, put
from tests.catalogue.files import open_upload

PROJECT = {"project_id": "{project_id}"}
KEYED = {"Idempotency-Key": "{key}"}
LOGIN = post("/session", {"email": "{stranger_email}", "password": "a wrong password"})

SHARED = (
    Cause("invalid_request", post("/projects", {"name": ""})),
    Cause("invalid_request", post("/projects", text='{"name": ')),
    Cause("invalid_request", get(f"/jobs?project_id={NOBODY}&limit=0")),
    Cause(
        "invalid_value",
        post(
            "/sleep-jobs",
            {**PROJECT, "name": "nul", "instance_type": "{instance_type}", "parameters": {"fail_with": "a\x00b"}},
        ),
    ),
    Cause("unauthorized", get("/me"), caller="nobody"),
    Cause("unauthorized", get("/me"), caller="unknown"),
    Cause("unauthorized", get("/me"), caller="revoked"),
    Cause("unauthorized", get("/me"), caller="expired"),
    Cause("forbidden", post("/projects", {"name": "mine"}), caller="viewer"),
    Cause("forbidden", post("/budgets", {**PROJECT, "amount": "10"}), caller="developer"),
    Cause("forbidden", post("/projects", {"name": "mine"}), caller="read-only"),
    Cause("cross_site_request", post("/projects", {"name": "mine"}), caller="cookie"),
    Cause("not_found", get("/nothing")),
    Cause("method_not_allowed", put("/projects")),
    Cause("too_large", post("/projects", text="{}", headers={"Content-Length": "99999999999"})),
    Cause("conflicting_change", post("/datasets", {"project_id": "{going_id}", "name": "late", "kind": "image"}),
          stage="project_going"),
    Cause("internal_error", post("/api-keys", {"name": "robot"}), stage="other_master_key"),
    Cause("storage_unavailable", put("/uploads/{own_id}/parts/1", file="part.bin"), stage="storage_broken",
          before=(open_upload("part.bin"),)),
    Cause("storage_full", put("/uploads/{own_id}/parts/1", file="large.bin"), stage="storage_full",
          before=(open_upload("large.bin", part_size_bytes=16 * 1024**2),)),
    Cause("no_space", put("/uploads/{own_id}/parts/1", file="large.bin"), stage="host_full",
          before=(open_upload("large.bin", part_size_bytes=16 * 1024**2),)),
    Cause("unavailable", get("/me"), stage="database_down"),
    Cause("unavailable", Call("GET", "/health/ready"), stage="database_down", caller="nobody"),
    Cause("schema_unknown", Call("GET", "/health/ready"), stage="other_schema", caller="nobody"),
    Cause("invalid_idempotency_key", post("/projects", {"name": "keyed"}, headers={"Idempotency-Key": "a\tb"})),
    Cause("idempotency_key_reused", post("/projects", {"name": "second"}, headers=KEYED),
          before=(post("/projects", {"name": "first"}, headers=KEYED),)),
    Cause("idempotency_in_progress", post("/projects", {"name": "keyed"}, headers=KEYED), stage="key_in_use"),
    Cause("invalid_cursor", get("/projects?cursor=abc")),
    Cause("request_rate_exceeded", get("/me"), stage="one_request_a_minute", before=(get("/me"),)),
)  # fmt: skip

IDENTITY = (
    Cause("wrong_credentials", LOGIN, caller="nobody"),
    Cause("wrong_credentials", post("/me/password", {"current_password": "x", "new_password": "a long enough one"})),
    Cause("too_many_attempts", LOGIN, stage="ten_attempts", caller="nobody"),
    Cause("busy", LOGIN, stage="hashing_busy", caller="nobody"),
    Cause("role_exceeds_yours", post("/api-keys", {"name": "more", "role": "owner"}), caller="developer"),
    Cause("api_key_not_found", delete(f"/api-keys/{NOBODY}")),
    Cause("member_not_found", get(f"/members/{NOBODY}")),
    Cause("already_member", post("/members", {"email": "{member_email}", "full_name": "N. N.", "role": "viewer"})),
    Cause("email_taken", post("/members", {"email": "{stranger_email}", "full_name": "N. N.", "role": "viewer"})),
    Cause("last_owner", delete("/members/{owner_id}")),
    Cause("expiry_in_the_past", post("/api-keys", {"name": "old", "expires_at": "2020-01-01T00:00:00Z"})),
)

PROJECTS = (
    Cause("project_not_found", get(f"/projects/{NOBODY}")),
    Cause("project_name_taken", post("/projects", {"name": "digits"})),
    Cause("project_not_empty", delete("/projects/{project_id}")),
)

BILLING = (
    Cause("budget_not_found", get(f"/budgets/{NOBODY}")),
    Cause("spending_hold_not_found", post(f"/spending-holds/{NOBODY}/lift")),
    Cause("suspended_by_operator", post("/spending-holds/{hold_id}/lift"), stage="suspended"),
    Cause("month_not_valid", get("/invoices/2026-13")),
    Cause("spending_on_hold", post("/sleep-jobs", {**PROJECT, "name": "held", "instance_type": "{instance_type}"}),
          stage="spending_held"),
    Cause("instance_type_unknown", post("/sleep-jobs", {**PROJECT, "name": "odd", "instance_type": "ml.none"})),
    Cause("instance_not_found", get(f"/instances/{NOBODY}")),
)  # fmt: skip

ADMIN = (
    Cause("organization_not_found", get(f"/admin/organizations/{NOBODY}/limits"), caller="operator"),
    Cause("sku_unknown", post("/admin/prices/preview", {"sku": "bananas", "amount": "1"}), caller="operator"),
    Cause("price_in_the_past", post("/admin/prices", {
        "sku": "inference:call", "amount": "0.0000005", "effective_from": "2020-01-01T00:00:00Z"}), caller="operator"),
    Cause("forbidden", post("/admin/prices", {"sku": "inference:call", "amount": "0"}), caller="owner"),
)  # fmt: skip

JOBS = (
    Cause("job_not_found", get(f"/jobs/{NOBODY}")),
    Cause("job_name_taken", post("/sleep-jobs", {**PROJECT, "name": "nap", "instance_type": "{instance_type}"})),
    Cause("job_already_finished", post("/jobs/{ended_id}/stop"), stage="job_ended"),
    Cause("dataset_version_needed", post("/compression-jobs", {
        **PROJECT, "name": "smaller", "instance_type": "{instance_type}", "model_version_id": "{model_version_id}"})),
    Cause("model_name_taken", post("/training-jobs", {
        "project_id": "{other_id}", "name": "train", "instance_type": "{instance_type}",
        "dataset_version_id": "{version_id}", "model_name": "{model_name}"}),
        before=(post("/projects", {"name": "elsewhere"}, saves={"other_id": "id"}),)),
    Cause("dataset_version_not_found", post("/training-jobs/estimate", {
        **PROJECT, "dataset_version_id": NOBODY, "instance_type": "{instance_type}"})),
    Cause("instance_type_unknown", post("/training-jobs/estimate", {
        **PROJECT, "dataset_version_id": "{version_id}", "instance_type": "ml.none"})),
    Cause("project_not_found", post("/training-jobs/estimate", {
        "project_id": NOBODY, "dataset_version_id": "{version_id}", "instance_type": "{instance_type}"})),
)  # fmt: skip
