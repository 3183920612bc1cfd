"""Figures that are those of all workers: prometheus_client keeps each number where ``counting`` has
it, and is told what it is in all seats together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client import disable_created_metrics, values

from .counting import Seat, own_seat, seats

__all__ = ["labels_of_others", "sum_up"]

_MERGED_BY: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "livemin": min,
    "livemax": max,
    "livesum": sum,
}
_OF_BUCKETS: Final = "le"
_told: Final[set[str]] = set()
"""Names of the numbers that this worker tells."""


def sum_up() -> None:
    """From now on, whatever figure is made in this worker is one of all workers, if they count
    together. When a series began is told of none, as each has begun it at another time.
    """
    own = own_seat()
    if own is not None:
        values.ValueClass = partial(_Sum, own)
        disable_created_metrics()  # type: ignore[no-untyped-call]


def labels_of_others() -> Iterable[tuple[str, Mapping[str, str]]]:
    """By the names of their figures, those that others have counted, also who had this seat before,
    and this worker does not tell yet.
    """
    for name in {name for seat in seats() for name in seat.counts.names()} - _told:
        figure, _, labels = json.loads(name)
        labels.pop(_OF_BUCKETS, None)
        if labels:
            yield figure, labels


class _Sum:
    """A number, as prometheus_client asks for one: written into the own seat, read from all."""

    def __init__(
        self,
        own: Seat,
        _: str,
        figure: str,
        name: str,
        labels: Sequence[str],
        values_of_labels: Sequence[str],
        *__: str,
        multiprocess_mode: str = "",
    ) -> None:
        self._name = json.dumps([figure, name, dict(zip(labels, values_of_labels, strict=True))])
        _told.add(self._name)
        if multiprocess_mode:
            self._own, self._all = own.state, [seat.state for seat in seats()]
            self._merged = _MERGED_BY[multiprocess_mode]
            self._own.set(self._name, math.nan)  # until it is told
        else:
            self._own, self._all = own.counts, [seat.counts for seat in seats()]
            self._merged = sum
            self._own.add(self._name, 0)  # on to what was counted before in this seat

    def inc(self, amount: float) -> None:
        self._own.add(self._name, amount)

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002
        self._own.set(self._name, value)

    def get(self) -> float:
        told = [number for each in self._all if not math.isnan(number := each.get(self._name))]
        return self._merged(told) if told else math.nan

    def set_exemplar(self, exemplar: object) -> None:
        """There are none."""

    def get_exemplar(self) -> None:
        """There are none."""
