"""Facts that stop a use case of billing."""

from backend.core.errors import Conflict, Forbidden, InternalFact, Invalid, NotFound


class UsageOverlap(InternalFact):
    """This source already consumed in an overlapping, different period: nothing was recorded."""


class UsageNotExact(InternalFact):
    """The quantity or period cannot be billed exactly."""


class PriceNotExact(InternalFact):
    """A price that is negative, not finite, or finer than nine decimals."""


class PriceInThePast(Conflict):
    """The price would change what was already charged, or a moment that has passed or has its price."""

    code = "price_in_the_past"
    title = "A price cannot change what has been"
    remedy = "let it begin later"


class BudgetNotFound(NotFound):
    """No budget with this id."""

    code = "budget_not_found"
    title = "Budget not found"
    remedy = "GET /api/v1/budgets lists your budgets"


class SpendingHoldNotFound(NotFound):
    """No open spending hold with this id."""

    code = "spending_hold_not_found"
    title = "Spending hold not found"
    remedy = "GET /api/v1/spending-holds lists the open ones"


class SuspendedByOperator(Forbidden):
    """An operator stopped this organization's spending; its own members cannot lift that."""

    code = "suspended_by_operator"
    title = "Suspended by the platform"
    remedy = "ask whoever runs this platform"


class MonthNotValid(Invalid):
    """The month is not written yyyy-mm."""

    code = "month_not_valid"
    title = "Not a month"
    remedy = "write year and month, such as 2026-03"


class SpendingOnHold(Forbidden):
    """A budget has stopped new spending: jobs and endpoints are not begun."""

    code = "spending_on_hold"
    title = "Spending is on hold"
    remedy = "raise the budget or lift the hold"
