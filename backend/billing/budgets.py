"""Budgets: a monthly limit on charges, and the holds on spending it places.

A budget with `hold_at_limit` whose charges of this month reach its amount places one hold, on its project or
on the organization. The hold is lifted by itself when the limit is no longer reached (a new month, a larger
amount, the budget gone), or by a person; then it stays lifted for that month and that amount.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit.service import record as audit
from backend.billing import rating
from backend.billing.costs import month_start
from backend.billing.errors import BudgetNotFound, SpendingHoldNotFound, SuspendedByOperator
from backend.billing.models import Budget, SpendingHold
from backend.billing.repository import BudgetRepository, DayRepository, Days
from backend.core.auth import Principal
from backend.core.clock import database_now
from backend.core.db import Scope
from backend.projects.errors import ProjectNotFound

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class BudgetStatus:
    """A budget and the month's charges so far."""

    budget: Budget
    spent: Decimal
    alerts: list[int]
    """The alert percents that are reached."""

    @property
    def reached(self) -> bool:
        """The charges have reached the amount."""
        return self.spent >= self.budget.amount


def create_budget(
    session: Session,
    principal: Principal,
    *,
    project_id: UUID | None,
    amount: Decimal,
    alert_percents: list[int],
    hold_at_limit: bool,
    tags: dict[str, str] | None = None,
) -> BudgetStatus:
    """A new budget for a project, or for all. Raises ProjectNotFound."""
    budget = Budget(
        project_id=project_id,
        amount=amount,
        alert_percents=sorted(alert_percents),
        hold_at_limit=hold_at_limit,
        tags=tags or {},
    )
    try:
        with session.begin_nested():
            BudgetRepository(session, principal.scope).add(budget)
    except IntegrityError as error:
        raise ProjectNotFound(f"there is no project {project_id}") from error
    _audit(session, principal, "budget.create", budget)
    return _status(session, principal.scope, budget, database_now(session))


def list_budgets(session: Session, scope: Scope) -> list[BudgetStatus]:
    """All budgets, oldest first."""
    now = database_now(session)
    return [_status(session, scope, budget, now) for budget in BudgetRepository(session, scope).budgets()]


def smallest_amount(session: Session, scope: Scope) -> Decimal | None:
    """What the whole organization may spend in a month: the smallest of its budgets; None = no such budget."""
    amounts = [budget.amount for budget in BudgetRepository(session, scope).budgets() if budget.project_id is None]
    return min(amounts, default=None)


def get_budget(session: Session, scope: Scope, budget_id: UUID) -> BudgetStatus:
    """One budget. Raises BudgetNotFound."""
    return _status(session, scope, _load(session, scope, budget_id), database_now(session))


def change_budget(
    session: Session,
    principal: Principal,
    budget_id: UUID,
    *,
    amount: Decimal | None = None,
    alert_percents: list[int] | None = None,
    hold_at_limit: bool | None = None,
    tags: dict[str, str] | None = None,
) -> BudgetStatus:
    """Change what is given. Raises BudgetNotFound."""
    budget = _load(session, principal.scope, budget_id, lock=True)
    if amount is not None:
        budget.amount = amount
    if alert_percents is not None:
        budget.alert_percents = sorted(alert_percents)
    if hold_at_limit is not None:
        budget.hold_at_limit = hold_at_limit
    if tags is not None:
        budget.tags = tags
    session.flush()
    _audit(session, principal, "budget.change", budget)
    return _status(session, principal.scope, budget, database_now(session))


def delete_budget(session: Session, principal: Principal, budget_id: UUID) -> None:
    """Remove a budget; the next check lifts its hold. Raises BudgetNotFound."""
    budget = _load(session, principal.scope, budget_id, lock=True)
    _audit(session, principal, "budget.delete", budget)
    BudgetRepository(session, principal.scope).delete(budget)


def open_hold(session: Session, scope: Scope, project_id: UUID | None) -> SpendingHold | None:
    """The hold that stops new spending of this project, if there is one (its own or the organization's)."""
    return BudgetRepository(session, scope).open_for(project_id)


def list_holds(session: Session, scope: Scope) -> Sequence[SpendingHold]:
    """Open holds on spending, oldest first."""
    return BudgetRepository(session, scope).open_holds()


def lift_hold(session: Session, principal: Principal, hold_id: UUID) -> SpendingHold:
    """Allow spending again. Raises SpendingHoldNotFound when no such hold is open, SuspendedByOperator."""
    hold = BudgetRepository(session, principal.scope).open_hold(hold_id)
    if hold is None:
        raise SpendingHoldNotFound(f"there is no open spending hold {hold_id}")
    if hold.placed_by is not None:
        raise SuspendedByOperator("whoever runs this platform stopped the spending of this organization")
    return _lift(session, principal, principal.scope, hold)


def suspend(session: Session, operator: Principal, scope: Scope, reason: str) -> SpendingHold:
    """An operator's act: new spending of a whole organization stops; only an operator lifts it. Once = as often."""
    budgets = BudgetRepository(session, scope)
    for hold in budgets.open_holds(lock=True):
        if hold.placed_by is not None:
            return hold
    hold = SpendingHold(project_id=None, reason=f"suspended by the platform: {reason}", placed_by=_acting(operator))
    budgets.add(hold)
    audit(
        session,
        _acting(operator),
        scope,
        action="spending_hold.place",
        resource_kind="spending_hold",
        resource_id=hold.id,
        detail={"reason": hold.reason},
    )
    return hold


def resume(session: Session, operator: Principal, scope: Scope) -> int:
    """Undo `suspend`; budgets' holds stay. Returns how many holds were lifted."""
    held = [hold for hold in BudgetRepository(session, scope).open_holds(lock=True) if hold.placed_by is not None]
    for hold in held:
        _lift(session, _acting(operator), scope, hold)
    return len(held)


def _acting(operator: Principal) -> str:
    return f"operator:{operator.id}"


def _lift(session: Session, who: Principal | str, scope: Scope, hold: SpendingHold) -> SpendingHold:
    hold.lifted_at = database_now(session)
    audit(
        session,
        who,
        scope,
        action="spending_hold.lift",
        resource_kind="spending_hold",
        resource_id=hold.id,
        detail={"reason": hold.reason},
    )
    return hold


def check_budgets(session: Session, scope: Scope) -> int:
    """Place and lift the organization's holds; returns how many it placed or lifted."""
    budgets = BudgetRepository(session, scope)
    now = database_now(session)
    reached = {
        budget.id: status
        for budget in budgets.budgets(lock=True)
        if budget.hold_at_limit and (status := _status(session, scope, budget, now)).reached
    }
    changed = 0
    for hold in budgets.open_holds(lock=True):
        if hold.budget_id is not None and hold.budget_id not in reached:
            hold.lifted_at = now
            changed += 1
    held = {hold.budget_id for hold in budgets.open_holds()}
    for budget_id, status in reached.items():
        if budget_id not in held and not budgets.placed_since(status.budget, month_start(now)):
            _place(budgets, status)
            changed += 1
    return changed


def _place(budgets: BudgetRepository, status: BudgetStatus) -> None:
    budget = status.budget
    whose = "this project" if budget.project_id else "the organization"
    budgets.add(
        SpendingHold(
            project_id=budget.project_id,
            budget_id=budget.id,
            limit_amount=budget.amount,
            reason=(
                f"charges of {whose} this month are {rating.money(status.spent)}, "
                f"and the budget is {rating.money(budget.amount)}"
            ),
        )
    )
    log.info("spending_hold_placed", organization_id=str(budget.organization_id), budget_id=str(budget.id))


def _status(session: Session, scope: Scope, budget: Budget, now: datetime) -> BudgetStatus:
    spent = DayRepository(session, scope).total(Days(budget.project_id, since=month_start(now).date()))
    reached = [percent for percent in budget.alert_percents if spent * 100 >= budget.amount * percent]
    return BudgetStatus(budget, spent, reached)


def _audit(session: Session, principal: Principal, action: str, budget: Budget) -> None:
    audit(
        session,
        principal,
        principal.scope,
        action=action,
        resource_kind="budget",
        resource_id=budget.id,
        detail={"amount": rating.money(budget.amount), "hold_at_limit": budget.hold_at_limit},
    )


def _load(session: Session, scope: Scope, budget_id: UUID, *, lock: bool = False) -> Budget:
    budget = BudgetRepository(session, scope).budget(budget_id, lock=lock)
    if budget is None:
        raise BudgetNotFound(f"there is no budget {budget_id}")
    return budget
