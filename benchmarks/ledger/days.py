"""When a device is open, and when each of its tabs wakes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final, NamedTuple

__all__ = ["DAY", "HOUR", "Opening", "openings"]

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86_400.0

MEAN_OPEN: Final = 30 * MINUTE
SLEEPS: Final = ((10 * MINUTE, 4 * HOUR), (8 * HOUR, 16 * HOUR), (1 * DAY, 5 * DAY))
"""From and to: a break, a night, some days away."""
SHARES: Final = (0.80, 0.17, 0.03)
"""How many of all sleeps are of each kind."""
TOGETHER: Final = 2.0
"""Seconds within which the tabs wake that wake with the device."""


class Opening(NamedTuple):
    """From opening a device to closing it; ``wakes`` has a time for each tab that is looked at."""

    begins: float
    ends: float
    wakes: tuple[float, ...]


def openings(chance: Random, tabs: int, until: float) -> Iterator[Opening]:
    """All openings of a device with so many tabs, in order."""
    begins = chance.uniform(0, DAY)
    while begins < until:
        ends = begins + chance.expovariate(1 / MEAN_OPEN)
        wakes = tuple([_wake(chance, begins, ends) for _ in range(tabs)])
        yield Opening(begins, ends, wakes)
        begins = ends + _sleep(chance)


def _wake(chance: Random, begins: float, ends: float) -> float:
    """Half of the tabs wake with the device, half when their turn comes."""
    within = TOGETHER if chance.random() < 0.5 else ends - begins
    return begins + within * chance.random()


def _sleep(chance: Random) -> float:
    [(least, most)] = chance.choices(SLEEPS, SHARES)
    return chance.uniform(least, most)
