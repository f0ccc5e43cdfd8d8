"""Figures for people: durations, sizes and money, short, with the exact value for the hover text."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from babel import Locale
from babel.dates import format_timedelta
from babel.numbers import format_currency, format_decimal, format_percent

DASH = "\N{EN DASH}"
_KIBI = 1024
_PLAIN = 100
_FEW = 100
_SHORT = 0.00995
_MINUTE = 60
_HOUR = 3600
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Units:
    """How a language writes units of time; `assets/src/units.ts` has the same."""

    milliseconds: str
    seconds: str
    minutes: str
    hours: str
    days: str


UNITS = {
    "en": Units(milliseconds="ms", seconds="s", minutes="min", hours="h", days="d"),
    "zh": Units(milliseconds="毫秒", seconds="秒", minutes="分", hours="小时", days="天"),
}


class Formatter:
    """Formats in one locale; each method is a template filter of the same name."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self.units = UNITS.get(locale.language, UNITS["en"])

    def duration(self, seconds: float | None) -> str:
        """`2 h 14 min`, `3 min 05 s`, `4.2 s`, `38 ms`, `0.3 ms`; a dash for None."""
        if seconds is None:
            return DASH
        unit = self.units
        if 0 < seconds < _SHORT:
            return f"{seconds * 1000:.2g} {unit.milliseconds}"
        if seconds < 1:
            return f"{seconds * 1000:.0f} {unit.milliseconds}"
        if seconds < _MINUTE / 6:
            return f"{seconds:.1f} {unit.seconds}"
        return self._long_duration(round(seconds))

    def _long_duration(self, seconds: int) -> str:
        unit = self.units
        if seconds < _MINUTE:
            return f"{seconds} {unit.seconds}"
        if seconds < _HOUR:
            return f"{seconds // _MINUTE} {unit.minutes} {seconds % _MINUTE:02d} {unit.seconds}"
        if seconds < _DAY:
            return f"{seconds // _HOUR} {unit.hours} {seconds % _HOUR // _MINUTE:02d} {unit.minutes}"
        return f"{seconds // _DAY} {unit.days} {seconds % _DAY // _HOUR} {unit.hours}"

    def exact_seconds(self, seconds: float | None) -> str:
        """The hover text of a duration: seconds with three decimals."""
        if seconds is None:
            return ""
        return f"{format_decimal(round(seconds, 3), locale=self.locale)} {self.units.seconds}"

    def bytes(self, size: int | None) -> str:
        """`1.2 GiB`; a dash for None."""
        if size is None:
            return DASH
        if size < _KIBI:
            return f"{size} B"
        value = float(size)
        for unit in ("KiB", "MiB", "GiB", "TiB"):
            value /= _KIBI
            if value < _KIBI:
                return f"{value:.1f} {unit}"
        return f"{value / _KIBI:.1f} PiB"

    def money(self, amount: Decimal | None) -> str:
        """`$12.40`, with four decimals below a dollar (`$0.0421`); a dash for None."""
        if amount is None:
            return DASH
        digits = "¤#,##0.00" if amount == 0 or abs(amount) >= 1 else "¤0.0000"
        return format_currency(amount, "USD", digits, locale=self.locale, currency_digits=False)

    def exact_money(self, amount: Decimal | None) -> str:
        """The hover text of money: every digit."""
        return "" if amount is None else f"USD {amount:f}"

    def whole(self, number: int) -> str:
        """`12,400`: a count."""
        return format_decimal(number, locale=self.locale)

    def rate(self, per_second: float) -> str:
        """`12.4`, `0.03`: how often in a second."""
        digits = "#,##0" if per_second >= _FEW else "#,##0.##"
        return format_decimal(per_second, digits, locale=self.locale)

    def percent(self, share: float | None) -> str:
        """`42%`; a dash for None."""
        return DASH if share is None else format_percent(share, "#,##0%", locale=self.locale)

    def exact_percent(self, share: float | None) -> str:
        """`98.25%`; a dash for None."""
        return DASH if share is None else format_percent(share, "#,##0.00%", locale=self.locale)

    def milliseconds(self, value: float | None) -> str:
        """`0.142 ms`: three digits that say something; a dash for None."""
        return DASH if value is None else f"{self.number(value)} {self.units.milliseconds}"

    def number(self, value: float | None) -> str:
        """`12,345`, `3.14`, `0.00123`: three digits at least; a dash for None."""
        if value is None:
            return DASH
        whole = abs(value) >= _PLAIN or value == int(value)
        return format_decimal(round(value) if whole else float(f"{value:.3g}"), "#,##0.########", locale=self.locale)

    def relative(self, at: datetime) -> str:
        """`3 minutes ago`, against this machine's clock; the browser keeps it current."""
        age = min((at - datetime.now(UTC)).total_seconds(), -1.0)
        return format_timedelta(timedelta(seconds=age), add_direction=True, threshold=1, locale=self.locale)

    def exact_time(self, at: datetime) -> str:
        """The hover text of a time, in UTC."""
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def plain(self, value: object) -> str:
        """A parameter's value: text as it is, everything else as JSON."""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def clock(self, at: datetime) -> str:
        """`14:03:59`, in UTC."""
        return at.astimezone(UTC).strftime("%H:%M:%S")
