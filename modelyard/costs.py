"""What was consumed and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from modelyard.room import Room, given
from modelyard.types import Budget, Charge


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

    def invoice(self, month: str) -> dict[str, Any]:
        """The bill of a month, such as 2026-03: each line rounded once to cents."""
        return self._http.get(f"/api/v1/invoices/{month}", dict[str, Any])


class Budgets(Room):
    """Limits on charges, and what they stopped."""

    def create(
        self,
        amount: Decimal | str,
        *,
        project_id: str | None = None,
        alert_percents: Sequence[int] = (50, 80, 100),
        hold_at_limit: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> Budget:
        """A monthly limit in US dollars, of one project or of the organization."""
        body = {
            "amount": str(amount),
            "project_id": project_id,
            "alert_percents": list(alert_percents),
            "hold_at_limit": hold_at_limit,
            "tags": dict(tags or {}),
        }
        return self._http.post("/api/v1/budgets", body, Budget)

    def list(self) -> Sequence[Budget]:
        """All budgets, with what is spent this month."""
        return self._http.get("/api/v1/budgets", dict[str, _Budgets])["items"]

    def get(self, budget_id: str) -> Budget:
        """One budget."""
        return self._http.get(f"/api/v1/budgets/{budget_id}", Budget)

    def update(
        self,
        budget_id: str,
        *,
        amount: Decimal | str | None = None,
        alert_percents: Sequence[int] | None = None,
        hold_at_limit: bool | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Budget:
        """Change what is given."""
        new_amount = None if amount is None else str(amount)
        body = given(amount=new_amount, alert_percents=alert_percents, hold_at_limit=hold_at_limit, tags=tags)
        return self._http.patch(f"/api/v1/budgets/{budget_id}", body, Budget)

    def delete(self, budget_id: str) -> None:
        """Remove it; a hold it placed is lifted."""
        self._http.delete(f"/api/v1/budgets/{budget_id}")

    def holds(self) -> Sequence[dict[str, Any]]:
        """Open holds on spending."""
        return [*self._http.get("/api/v1/spending-holds", dict[str, Any])["items"]]

    def lift(self, hold_id: str) -> dict[str, Any]:
        """Allow spending again."""
        return self._http.post(f"/api/v1/spending-holds/{hold_id}/lift", {}, dict[str, Any])


_Budgets = list[Budget]
