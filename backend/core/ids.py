"""Identifiers: UUID version 7 (RFC 9562 §5.7), so that primary keys grow with time."""

import secrets
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, 12 of the fraction (§6.2, method 3; 244 ns), 62 random ones.

    With the fraction the ids of one process sort as they were made, within a millisecond too.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62) | secrets.randbits(62))


def floor_id(moment: datetime) -> UUID:
    """The smallest UUIDv7 of this moment: ids made later are greater."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def new_account_id() -> str:
    """A 12-digit account id for an organization; the first digit is never 0."""
    return str(secrets.randbelow(9 * 10**11) + 10**11)
