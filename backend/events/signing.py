"""Signatures of the Standard Webhooks specification (github.com/standard-webhooks, "Signature scheme", v1).

    webhook-signature = "v1," + base64(HMAC-SHA256(secret, webhook-id "." webhook-timestamp "." body))

A secret is `whsec_` and the base64 of its 32 random bytes; the bytes are the key.
"""

import base64
import hashlib
import hmac
import secrets
from uuid import UUID

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """A signing secret as its owner is told it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def message_id(event_id: UUID) -> str:
    """The `webhook-id` of an event."""
    return f"evt_{event_id.hex}"


def signature(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header. `timestamp` in whole Unix seconds."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{identity}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers(secret: str, identity: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed message, and what it is."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "Modelyard-Webhooks/1",
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, identity, timestamp, body),
    }
