"""Facts that stop a use case of billing."""

from backend.core.errors import Conflict, Forbidden, Invalid, NotFound


class UsageOverlap(Conflict):
    """This source already consumed in an overlapping, different period: nothing was recorded."""

    code = "usage_overlap"
    title = "Overlapping usage"


class UsageNotExact(Invalid):
    """The quantity or period cannot be billed exactly."""

    code = "usage_not_exact"
    title = "Usage is not exact"


class PriceNotExact(Invalid):
    """A price that is negative, not finite, or finer than nine decimals."""

    code = "price_not_exact"
    title = "Price is not exact"


class PriceInThePast(Conflict):
    """The price would change what was already charged."""

    code = "price_already_charged"
    title = "Already charged"


class BudgetNotFound(NotFound):
    """No budget with this id."""

    code = "budget_not_found"
    title = "Budget not found"


class SpendingHoldNotFound(NotFound):
    """No open spending hold with this id."""

    code = "spending_hold_not_found"
    title = "Spending hold not found"


class MonthNotValid(Invalid):
    """The month is not written yyyy-mm."""

    code = "month_not_valid"
    title = "Not a month"


class SpendingOnHold(Forbidden):
    """A budget has stopped new spending: jobs and endpoints are not begun."""

    code = "spending_on_hold"
    title = "Spending is on hold"
