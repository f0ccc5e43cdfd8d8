"""What identity's use cases need besides a session, built once from the settings."""

from dataclasses import dataclass
from datetime import timedelta

from backend.core.crypto import LocalKms, derive_key
from backend.core.settings import SecuritySettings, require
from backend.identity.limiter import LoginLimiter
from backend.identity.passwords import Passwords
from backend.identity.vault import Vault


@dataclass(frozen=True)
class Security:
    """Password hashing, attempt counts, tenants' keys, how long a session lasts, and what its own keys are made of."""

    passwords: Passwords
    limiter: LoginLimiter
    vault: Vault
    session_lifetime: timedelta
    session_key_secret: bytes


def make_security(settings: SecuritySettings) -> Security:
    """From the settings. Raises RuntimeError when the master key is missing, ValueError when it is none."""
    master_key = require(settings.master_key, "MODELYARD_SECURITY__MASTER_KEY")
    return Security(
        passwords=Passwords(memory_kib=settings.argon2_memory_kib, iterations=settings.argon2_iterations),
        limiter=LoginLimiter(),
        vault=Vault(LocalKms(master_key)),
        session_lifetime=timedelta(hours=settings.session_hours),
        session_key_secret=derive_key(master_key, "keys of sessions"),
    )
