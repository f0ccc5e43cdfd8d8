"""Identifiers: UUID version 7 (RFC 9562 §5.7), so that primary keys grow with time."""

import secrets
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return UUID(int=value)


def floor_id(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this moment: ids made later are greater."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def new_account_id() -> str:
    """A 12-digit account id for an organization; the first digit is never 0."""
    return str(secrets.randbelow(9 * 10**11) + 10**11)
