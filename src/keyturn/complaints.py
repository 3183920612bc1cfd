"""Warnings of what goes wrong again and again, in a log that stays readable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from keyturn.core.errors import KeyturnError

__all__ = ["Complaints"]

log = logging.getLogger("keyturn")

_SILENCE_SECONDS: Final = 60


class Complaints:
    """Logs each kind of error once a minute at most.

    Args:
        steady_clock: seconds that never jump.
    """

    def __init__(self, steady_clock: Callable[[], float]) -> None:
        self._steady_clock = steady_clock
        self._silent_until: dict[tuple[str, type[Exception]], float] = {}

    def report(self, what: str, error: Exception) -> None:
        """Say that ``what`` failed: in a sentence where the error was foreseen, with the traceback
        where it was not.
        """
        kind, now = (what, type(error)), self._steady_clock()
        if now < self._silent_until.get(kind, now):
            return
        self._silent_until[kind] = now + _SILENCE_SECONDS
        foreseen = isinstance(error, KeyturnError)
        log.warning("%s: %s", what, error, exc_info=None if foreseen else error)
