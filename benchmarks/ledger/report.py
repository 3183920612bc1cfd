"""The ledger as a table of text: a column for each rule, counts per 1 000 device-months."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Final

from .days import HOUR
from .fleet import Ledger
from .thieves import HABITS, Fate, Record

__all__ = ["per_thousand", "report"]

_LABEL: Final = 52
_COLUMN: Final = 24


def report(ledgers: Sequence[Ledger]) -> str:
    """Who was logged out, what became of thefts, and which thieves were seen."""

    def line(label: str, figure: Callable[[Ledger], str]) -> str:
        figures = "".join(f"{figure(each):>{_COLUMN}}" for each in ledgers)
        return f"{label:{_LABEL}}{figures}".rstrip()

    return "\n".join(
        [
            line("", lambda ledger: ledger.rule),
            line("false logouts", lambda ledger: _count(ledger, ledger.false_logouts)),
            line(
                "logouts after a slow round trip",
                lambda ledger: _count(ledger, ledger.slow_logouts),
            ),
            line("thefts", lambda ledger: _count(ledger, len(ledger.thefts))),
            *(line(f"  {fate}", _fates(fate)) for fate in Fate),
            line("thief's exchanges until seen: median (most)", _exchanges_until_seen),
            line("hours until seen: median (most)", _hours_until_seen),
            line("seen, of the thieves who came", lambda _: ""),
            *(line(f"  {habit.name}", _seen(habit.name)) for habit in HABITS),
        ]
    )


def per_thousand(ledger: Ledger, count: int) -> int:
    """The count as it would be in 1 000 device-months."""
    return round(1000 * count / ledger.fleet.device_months)


def _count(ledger: Ledger, count: int) -> str:
    return f"{per_thousand(ledger, count):,}"


def _fates(fate: Fate) -> Callable[[Ledger], str]:
    return lambda ledger: _count(ledger, sum(theft.fate is fate for theft in ledger.thefts))


def _exchanges_until_seen(ledger: Ledger) -> str:
    figures = [theft.exchanges for theft in _those_seen(ledger)]
    return f"{statistics.median_low(figures):,} ({max(figures):,})" if figures else "-"


def _hours_until_seen(ledger: Ledger) -> str:
    figures = [theft.seconds / HOUR for theft in _those_seen(ledger)]
    return f"{statistics.median(figures):,.1f} ({max(figures):,.1f})" if figures else "-"


def _seen(habit: str) -> Callable[[Ledger], str]:
    def of_all(ledger: Ledger) -> str:
        of_habit = [theft.fate for theft in ledger.thefts if theft.habit == habit]
        return f"{_count(ledger, of_habit.count(Fate.SEEN))} of {_count(ledger, len(of_habit))}"

    return of_all


def _those_seen(ledger: Ledger) -> list[Record]:
    return [theft for theft in ledger.thefts if theft.fate is Fate.SEEN]
