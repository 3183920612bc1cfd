"""Where the workers of a server count together, so that any of them can tell the sums: in memory
that they have in common, being forked. Not in files, as is the custom: where the disk is full,
whoever writes to one that is mapped is ended by it, and somebody may tidy them away.
"""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections.abc import Sequence
from typing import Final

from .settings import Settings

__all__ = ["Numbers", "Seat", "count_together", "forget_worker", "own_seat", "seats", "take_seat"]

_FOLDERS: Final = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""Variables in which prometheus_client looks for that of the files, when it is imported."""
_BYTES: Final = 1 << 20
"""Several times what there is to be counted. Memory that is never written to is never taken."""
_WORD: Final = 8


class Numbers:
    """Numbers by name, which one process writes, and all read that were forked from where they were
    made. The first word of the memory tells where the next number comes; of each there are the
    length of its name, itself and its name.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)
        self._words = memoryview(self._memory).cast("Q")
        self._numbers = memoryview(self._memory).cast("d")
        self._words[0] = self._read_to = 1
        self._places: dict[str, int] = {}
        self._lock, self._fence = threading.Lock(), threading.Lock()

    def names(self) -> set[str]:
        """Of all numbers that there are."""
        with self._lock:
            self._read_on()
            return {*self._places}

    def get(self, name: str) -> float:
        """The number; NaN where there is none."""
        with self._lock:
            self._read_on()
            return self._numbers[self._places[name]] if name in self._places else math.nan

    def add(self, name: str, amount: float) -> None:
        """Make the number greater, from 0 on."""
        with self._lock:
            self._numbers[self._place(name, 0)] += amount

    def set(self, name: str, number: float) -> None:
        """Make it that number."""
        with self._lock:
            self._numbers[self._place(name, number)] = number

    def forget(self) -> None:
        """From now on there is none, of whichever name."""
        for name in self.names():
            self.set(name, math.nan)

    def _place(self, name: str, first: float) -> int:
        self._read_on()
        if name not in self._places:
            self._write(name.encode(), first)
            self._read_on()
        return self._places[name]

    def _write(self, name: bytes, number: float) -> None:
        place = self._words[0]
        begin, end = _span_of_name(place, len(name))
        with self._fence:
            self._memory[begin:end] = name
            self._words[place] = len(name)
            self._numbers[place + 1] = number
        with self._fence:  # at last, as others read meanwhile; no processor changes their order
            self._words[0] = _next_place(end)

    def _read_on(self) -> None:
        """What was written since the last time, by whoever it was."""
        while self._read_to < self._words[0]:
            begin, end = _span_of_name(self._read_to, self._words[self._read_to])
            self._places[self._memory[begin:end].decode()] = self._read_to + 1
            self._read_to = _next_place(end)


def _span_of_name(place: int, length: int) -> tuple[int, int]:
    begin = (place + 2) * _WORD
    return begin, begin + length


def _next_place(end: int) -> int:
    return -(-end // _WORD)


class Seat:
    """What one worker tells. Whoever takes the seat of one that ended counts on from there, so that
    nothing is lost, and there are no more seats however often workers end.
    """

    def __init__(self) -> None:
        self.counts = Numbers()
        """What has happened."""
        self.state = Numbers()
        """How the worker stands just now."""


_seats: list[Seat] = []
_own: Seat | None = None


def count_together(settings: Settings, workers: int) -> None:
    """From now on the processes that are forked count together, if anybody may see what. One alone
    does without, as it costs more than counting.
    """
    for folder in _FOLDERS:  # of others that it was started by
        os.environ.pop(folder, None)
    if workers > 1 and settings.metrics_token:
        _seats.extend(Seat() for _ in range(workers))


def take_seat(number: int) -> None:
    """In a worker, before it counts: which one of them it is."""
    global _own  # noqa: PLW0603
    if _seats:
        _own = _seats[number]


def forget_worker(number: int) -> None:
    """What a worker that ended has counted stays; how it was does not."""
    if _seats:
        _seats[number].state.forget()


def seats() -> Sequence[Seat]:
    """Of all workers; none where one counts alone."""
    return _seats


def own_seat() -> Seat | None:
    """Of this worker; None where it counts alone."""
    return _own
