"""All SQL of identity."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session


class CredentialRepository:
    """Whose a credential is; the only reads without a tenant, by SECURITY DEFINER functions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def api_key(self, token_hash: bytes) -> Row[Any] | None:
        """(key_id, organization_id, account_id, name, role, scopes) of a key that counts."""
        return self._session.execute(
            text("SELECT * FROM auth_api_key(:presented)"), {"presented": token_hash}
        ).one_or_none()

    def session(self, token_hash: bytes) -> Row[Any] | None:
        """(session_id, organization_id, account_id, user_id, email, full_name, role) of a session that counts."""
        return self._session.execute(
            text("SELECT * FROM auth_session(:presented)"), {"presented": token_hash}
        ).one_or_none()

    def password(self, email: str) -> Sequence[Row[Any]]:
        """(user_id, password_hash, organization_id, role) per membership, oldest membership first."""
        return self._session.execute(text("SELECT * FROM auth_password(:email)"), {"email": email}).all()
