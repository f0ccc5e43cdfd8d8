"""What was consumed and what it costs."""

from collections.abc import Iterator
from typing import Any

from modelyard.room import Room
from modelyard.types import Charge


class Costs(Room):
    """The bill."""

    def charges(
        self, *, project_id: str | None = None, resource_kind: str | None = None, resource_id: str | None = None
    ) -> Iterator[Charge]:
        """Charges, exact."""
        return self._http.pages(
            "/api/v1/charges",
            Charge,
            project_id=project_id,
            resource_kind=resource_kind,
            resource_id=resource_id,
            limit=200,
        )

    def summary(self, *, project_id: str | None = None) -> dict[str, Any]:
        """Month to date by resource, SKU, project and day. Amounts are exact decimal strings."""
        return self._http.get("/api/v1/costs/summary", dict[str, Any], project_id=project_id)

    def usage(self, *, resource_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Usage records."""
        return self._http.pages("/api/v1/usage", dict[str, Any], resource_id=resource_id, limit=200)

    def prices(self) -> list[dict[str, Any]]:
        """Prices in force."""
        return list(self._http.get("/api/v1/prices", dict[str, Any])["items"])
