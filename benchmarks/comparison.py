"""What was measured of the contenders, set beside each other: only what may be quoted, medians of
all times that it was measured, and ratios to Keyturn in the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from .contenders.keyturn import KEYTURN
from .measure import median_of
from .trial import Cost

__all__ = ["MEASURE", "Compared", "Row", "Spread", "compared", "spread_of", "total_us", "unfit"]

MEASURE: Final = KEYTURN[0].name
"""Whose cost is 1."""


class Row(msgspec.Struct, frozen=True):
    """One load on one contender."""

    round: int
    contender: str
    workers: int
    asked: str
    connections: int
    cost: Cost
    calibration_us: float
    statements: float | None = None
    """Of PostgreSQL, an answer, where they were counted."""


class Spread(msgspec.Struct, frozen=True):
    """Of one figure, over all times that it was measured."""

    median: float
    least: float
    largest: float


class Compared(msgspec.Struct, frozen=True):
    """One contender under one kind of load, in all rounds that may be quoted."""

    contender: str
    rows: Sequence[Row]
    ratio: Spread | None
    """Of all the CPU that an answer takes to Keyturn's, the median of the same round; None where no
    round has both.
    """

    def spread(self, figure: Callable[[Row], float]) -> Spread:
        return spread_of([figure(row) for row in self.rows])

    def median(self, figure: Callable[[Row], float]) -> float:
        return self.spread(figure).median

    @property
    def statements(self) -> float | None:
        """Of PostgreSQL, an answer, where they were counted."""
        counted = [row.statements for row in self.rows if row.statements is not None]
        return median_of(counted) if counted else None


def total_us(row: Row) -> float:
    """CPU of server and database, an answer."""
    return row.cost.server_us + row.cost.database_us


def unfit(rows: Iterable[Row]) -> list[Row]:
    """Those that must not be quoted: an answer was refused or lost, or none came."""
    return [row for row in rows if not _is_fit(row)]


def compared(
    rows: Sequence[Row], asked: str, *, connections: int = 32, workers: int = 1
) -> list[Compared]:
    """All contenders under that load, the one that takes the least CPU first."""
    alike = [
        row
        for row in rows
        if (row.asked, row.connections, row.workers) == (asked, connections, workers)
        and _is_fit(row)
    ]
    keyturn = _measure_by_round(row for row in alike if row.contender == MEASURE)
    names = dict.fromkeys(row.contender for row in alike)
    found = [_of(name, alike, keyturn) for name in names]
    return sorted(found, key=lambda each: each.median(total_us))


def _measure_by_round(rows: Iterable[Row]) -> dict[int, float]:
    costs: dict[int, list[float]] = {}
    for row in rows:
        costs.setdefault(row.round, []).append(total_us(row))
    return {number: median_of(those) for number, those in costs.items()}


def spread_of(figures: Sequence[float]) -> Spread:
    return Spread(median_of(figures), min(figures), max(figures))


def _is_fit(row: Row) -> bool:
    load = row.cost.load
    return load.answers > 0 and load.refused == load.lost == 0


def _of(contender: str, alike: Sequence[Row], keyturn: dict[int, float]) -> Compared:
    rows = [row for row in alike if row.contender == contender]
    ratios = [total_us(row) / keyturn[row.round] for row in rows if row.round in keyturn]
    return Compared(contender, rows, spread_of(ratios) if ratios else None)
