"""Causes in the agents' and the gateways' API."""

from tests.catalogue.cause import NOBODY, Call, Cause

ASSIGNMENT = "/agent/v1/assignments/{assignment_id}"
SEGMENT = "00000000-0000-7000-8000-000000000001"
DIGEST = "0" * 64

AGENTS = (
    Cause("instance_token_unknown", Call("POST", "/agent/v1/sync", {}), caller="nobody"),
    Cause("malformed_message", Call("POST", "/agent/v1/sync", text="["), caller="agent"),
    Cause("too_large", Call("POST", "/agent/v1/sync", file="9-MiB.json"), caller="agent"),
    Cause("assignment_not_found", Call("GET", f"/agent/v1/assignments/{NOBODY}/blobs/{DIGEST}?epoch=1"),
          caller="agent"),
    Cause("stale_epoch", Call("GET", f"{ASSIGNMENT}/blobs/{DIGEST}?epoch=7"), caller="agent"),
    Cause("blob_not_found", Call("GET", f"{ASSIGNMENT}/blobs/{DIGEST}?epoch=1"), caller="agent"),
    Cause("usage_segment_malformed", Call("POST", f"{ASSIGNMENT}/usage-segments/{SEGMENT}?epoch=1", text="{}"),
          caller="agent"),
    Cause("usage_segment_too_large",
          Call("POST", f"{ASSIGNMENT}/usage-segments/{SEGMENT}?epoch=1", file="3-MiB.jsonl"), caller="agent"),
    Cause("usage_segment_changed",
          Call("POST", f"{ASSIGNMENT}/usage-segments/{SEGMENT}?epoch=1", text="{segment_header} \n"),
          before=(Call("POST", f"{ASSIGNMENT}/usage-segments/{SEGMENT}?epoch=1", text="{segment_header}\n"),),
          caller="agent"),
)  # fmt: skip

GATEWAYS = (Cause("gateway_token_unknown", Call("GET", "/gateway/v1/routes"), caller="nobody"),)
