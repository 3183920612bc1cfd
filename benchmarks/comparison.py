"""What was measured of the contenders, set beside each other: only what may be quoted, medians of
all times that it was measured, and ratios to Keyturn just before and just after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean
from typing import Final

import msgspec

from .contenders.keyturn import KEYTURN
from .measure import median_of
from .trial import Cost

__all__ = ["MEASURE", "Compared", "Row", "Spread", "compared", "spread_of", "total_us", "unfit"]

MEASURE: Final = KEYTURN[0].name
"""Whose cost is 1."""

_ENOUGH: Final = 1000
"""Answers, of which ten are later than the 99th of a hundred."""


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
    """Of PostgreSQL, a request, where they were counted."""


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
    """Of all the CPU that a request takes to Keyturn's, just before and just after in the same
    round; None where no round has both.
    """

    def spread(self, figure: Callable[[Row], float]) -> Spread:
        return spread_of([figure(row) for row in self.rows])

    def median(self, figure: Callable[[Row], float]) -> float:
        return self.spread(figure).median

    @property
    def p99_ms(self) -> float | None:
        """None where it would rest on too few answers."""
        if self.median(lambda row: row.cost.load.answers) < _ENOUGH:
            return None
        return self.median(lambda row: row.cost.load.p99_ms)

    @property
    def statements(self) -> float | None:
        """Of PostgreSQL, a request, where they were counted."""
        counted = [row.statements for row in self.rows if row.statements is not None]
        return median_of(counted) if counted else None


def total_us(row: Row) -> float:
    """CPU of server and database, a request."""
    return row.cost.server_us + row.cost.database_us


def unfit(rows: Iterable[Row]) -> list[Row]:
    """Those that must not be quoted: an answer was refused or lost, or none came."""
    return [row for row in rows if not _is_fit(row)]


def compared(
    rows: Sequence[Row], asked: str, *, connections: int = 32, workers: int = 1
) -> list[Compared]:
    """All contenders under that load, the one that takes the least CPU first. The rows are in the
    order in which they were measured.
    """
    alike = [
        row
        for row in rows
        if (row.asked, row.connections, row.workers) == (asked, connections, workers)
        and _is_fit(row)
    ]
    names = dict.fromkeys(row.contender for row in alike)
    return sorted((_of(name, alike) for name in names), key=lambda each: each.median(total_us))


def spread_of(figures: Sequence[float]) -> Spread:
    return Spread(median_of(figures), min(figures), max(figures))


def _is_fit(row: Row) -> bool:
    load = row.cost.load
    return load.answers > 0 and load.refused == load.lost == 0


def _of(contender: str, alike: Sequence[Row]) -> Compared:
    places = [place for place, row in enumerate(alike) if row.contender == contender]
    ratios = [
        total_us(alike[place]) / fmean(beside)
        for place in places
        if (beside := [*_beside(place, alike)])
    ]
    rows = [alike[place] for place in places]
    return Compared(contender, rows, spread_of(ratios) if ratios else None)


def _beside(place: int, alike: Sequence[Row]) -> Iterator[float]:
    """What Keyturn took the last time before and the first time after, in the same round. The
    machine is not as fast at the end of a round as at its beginning.
    """
    for others in (alike[place::-1], alike[place:]):
        yield from [total_us(row) for row in others if _measures(row, alike[place])][:1]


def _measures(row: Row, other: Row) -> bool:
    return row.contender == MEASURE and row.round == other.round
