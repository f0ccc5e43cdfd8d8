"""The organization: who is in it, which keys act for it, who did what; and the machines it has."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from modelyard.room import Room
from modelyard.types import ApiKey


class Members(Room):
    """People of the organization."""

    def list(self) -> Iterator[dict[str, Any]]:
        """All members."""
        return self._http.pages("/api/v1/members", dict[str, Any])

    def add(self, email: str, full_name: str, role: str) -> dict[str, Any]:
        """Somebody more: owner, admin, developer, viewer or billing. A new account's password is in the answer."""
        body = {"email": email, "full_name": full_name, "role": role}
        return self._http.post("/api/v1/members", body, dict[str, Any])

    def get(self, user_id: str) -> dict[str, Any]:
        """One member."""
        return self._http.get(f"/api/v1/members/{user_id}", dict[str, Any])

    def change_role(self, user_id: str, role: str) -> dict[str, Any]:
        """Give somebody another role."""
        return self._http.patch(f"/api/v1/members/{user_id}", {"role": role}, dict[str, Any])

    def remove(self, user_id: str) -> None:
        """Take somebody out; their sessions and keys end."""
        self._http.delete(f"/api/v1/members/{user_id}")


class ApiKeys(Room):
    """Keys that act for the organization."""

    def create(
        self,
        name: str,
        *,
        role: str | None = None,
        scopes: Sequence[str] = (),
        expires_at: datetime | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ApiKey:
        """A key with at most your own rights; its `token` is told here and never again."""
        body = {
            "name": name,
            "role": role,
            "scopes": list(scopes),
            "expires_at": expires_at.isoformat() if expires_at else None,
            "tags": dict(tags or {}),
        }
        return self._http.post("/api/v1/api-keys", body, ApiKey)

    def list(self, *, include_revoked: bool = False) -> Iterator[ApiKey]:
        """Keys, newest first."""
        return self._http.pages("/api/v1/api-keys", ApiKey, include_revoked=str(include_revoked).lower())

    def revoke(self, key_id: str) -> None:
        """End a key, at once."""
        self._http.delete(f"/api/v1/api-keys/{key_id}")


class Audit(Room):
    """Who did what."""

    def events(self) -> Iterator[dict[str, Any]]:
        """Acts, newest first."""
        return self._http.pages("/api/v1/audit-events", dict[str, Any])

    def verify(self) -> dict[str, Any]:
        """The chain of sealed acts, recomputed: `broken_at` null = whole."""
        return self._http.get("/api/v1/audit-events/chain", dict[str, Any])


class Instances(Room):
    """Machines, and the shapes that there are."""

    def types(self) -> Sequence[dict[str, Any]]:
        """Instance types."""
        return [*self._http.get("/api/v1/instance-types", dict[str, Any])["items"]]

    def list(self, *, include_terminated: bool = False) -> Iterator[dict[str, Any]]:
        """The organization's machines, newest first."""
        found = self._http.get(
            "/api/v1/instances", dict[str, Any], include_terminated=str(include_terminated).lower(), limit=200
        )
        return iter(found["items"])

    def get(self, instance_id: str) -> dict[str, Any]:
        """One machine."""
        return self._http.get(f"/api/v1/instances/{instance_id}", dict[str, Any])

    def drain(self, instance_id: str) -> dict[str, Any]:
        """No new work on it; what it does checkpoints and moves."""
        return self._http.post(f"/api/v1/instances/{instance_id}/drain", {}, dict[str, Any])


class Lineage(Room):
    """Where something came from, and what became of it."""

    def read(self, kind: str, identity: str, *, direction: str = "both", limit: int | None = None) -> dict[str, Any]:
        """Nodes and edges around a thing, up, down or both: from dataset version to invoice line."""
        return self._http.get(f"/api/v1/lineage/{kind}/{identity}", dict[str, Any], direction=direction, limit=limit)
