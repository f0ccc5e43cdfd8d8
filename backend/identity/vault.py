"""Secrets of an organization, under its own data key, which is wrapped by the KMS (see `core.crypto`)."""

import secrets

from sqlalchemy.orm import Session

from backend.core.crypto import KEY_BYTES, Kms, Undecipherable, decrypt, encrypt, key_id_of
from backend.core.db import Scope
from backend.core.ids import new_id
from backend.identity.models import OrganizationKey
from backend.identity.repository import KeyRepository


class Vault:
    """Encrypts for one organization and one purpose. Keys are not cached: a destroyed one is gone at once."""

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def encrypt(self, session: Session, scope: Scope, plaintext: bytes, *, purpose: str) -> bytes:
        """The ciphertext; makes the organization's data key when it has none."""
        keys = KeyRepository(session, scope)
        row = keys.current()
        if row is None:
            key_id, data_key = new_id(), secrets.token_bytes(KEY_BYTES)
            wrapped = self._kms.wrap(data_key, key_id.bytes)
            keys.add(
                OrganizationKey(
                    id=key_id, organization_id=scope.organization_id, kms=self._kms.name, wrapped_key=wrapped
                )
            )
        else:
            key_id, data_key = row.id, self._open(row)
        return encrypt(key_id, data_key, plaintext, purpose=_bound(scope, purpose))

    def decrypt(self, session: Session, scope: Scope, ciphertext: bytes, *, purpose: str) -> bytes:
        """The plaintext. Raises Undecipherable."""
        row = KeyRepository(session, scope).find(key_id_of(ciphertext))
        if row is None or row.destroyed_at is not None:
            raise Undecipherable("the data key of this ciphertext is gone")
        return decrypt(self._open(row), ciphertext, purpose=_bound(scope, purpose))

    def _open(self, row: OrganizationKey) -> bytes:
        return self._kms.unwrap(row.wrapped_key, row.id.bytes)


def _bound(scope: Scope, purpose: str) -> bytes:
    return f"{scope.organization_id}:{purpose}".encode()
