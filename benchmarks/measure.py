"""What every benchmark shares: rounds, medians with spread, and a loop that shows when the machine
itself was slow.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "calibration_us",
    "heading",
    "in_turns_us",
    "median_of",
    "per_call_us",
    "ratios",
    "shown",
]

_SLICES = 10


def per_call_us(work: Callable[[], object], calls: int) -> float:
    """CPU microseconds of one call, as the mean over ``calls``."""
    began = time.process_time_ns()
    for _ in range(calls):
        work()
    return (time.process_time_ns() - began) / calls / 1000


def in_turns_us(works: Mapping[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """As ``per_call_us`` of each, in slices that take turns: so a machine that is slow for a while
    is slow for all of them.
    """
    spent = dict.fromkeys(works, 0.0)
    for _ in range(_SLICES):
        for name, work in works.items():
            spent[name] += per_call_us(work, calls // _SLICES)
    return {name: total / _SLICES for name, total in spent.items()}


def calibration_us() -> float:
    """CPU microseconds of a fixed loop: compare runs only where this is alike."""
    return per_call_us(lambda: sum(range(1000)), 2000)


def median_of(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Of what was measured right after each other, round by round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def shown(figures: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the largest behind it."""
    middle, least, largest = (
        f"{figure:,.{digits}f}" for figure in (median_of(figures), min(figures), max(figures))
    )
    return f"{middle}  ({least} to {largest})"


def heading(title: str) -> None:
    print(f"\n{title}\n{'─' * len(title)}")
    load = os.getloadavg()[0]
    print(f"calibration loop: {calibration_us():.1f} µs; load of the machine before: {load:.1f}")
