"""Billing: prices, usage records, charges, budgets, holds on spending, invoices.

How a consumed second or call becomes a line on a bill:

1. Whoever meters writes a *usage record*: what one source (an attempt, a replica, a hold, a usage segment's
   variant) consumed of one SKU in [from_at, to_at). Records are append-only. The same slice again changes
   nothing; an overlapping, different slice is refused (`UsageOverlap`).
2. The billing control task *rates* records that have no `rated_at`: it splits the record at price changes in
   proportion to time, splits a replica's part over the endpoint's variants by compute time, and writes one
   *charge* per part: quantity times the unit price then in force, never rounded. A record whose period has no
   price, or whose split must still wait for usage segments, stays unrated: it is shown as such and rated later,
   never lost.
3. An *invoice* is computed, not stored: the month's charges summed per resource, variant, SKU and unit price;
   each line is rounded to cents once, half-even.
4. A *budget* watches the month's charges. Reaching it places a *spending hold* when it says so; billing never
   calls up: the jobs and endpoints controllers ask `service.open_hold` and obey.

Money is exact. Usage quantities are whole thousandths (a millisecond of a second; calls are whole), prices
have at most nine decimals: their product fits NUMERIC(38,12) without rounding. Both limits are checked where
the value enters. Nothing here is a float.
"""
