"""One answer for all who ask for the same at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Flight"]

Result = TypeVar("Result")


class Flight(Generic[Result]):
    """What is under way for several, each of whom may be cancelled without a loss to the others; it
    goes on even where all are.

    Args:
        on_landing: is called as it ends: whoever asks from then on needs another.
    """

    def __init__(self, on_landing: Callable[[], object]) -> None:
        self._on_landing = on_landing
        self._aboard: list[asyncio.Future[Result]] = []
        self._landed = False

    def join(self) -> asyncio.Future[Result]:
        """Be told what comes of it.

        Raises:
            RuntimeError: it has ended.
        """
        if self._landed:
            raise RuntimeError("It has ended: another is needed")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._aboard.append(future)
        return future

    def done(self) -> bool:
        """Whether it has ended."""
        return self._landed

    def set_result(self, result: Result) -> None:
        """End it well."""
        for future in self._land():
            future.set_result(result)

    def set_exception(self, error: Exception) -> None:
        """End it ill."""
        for future in self._land():
            future.set_exception(error)

    def _land(self) -> list[asyncio.Future[Result]]:
        """Those who are still aboard, and no longer: an error leads to whoever it was raised in,
        and from there to here.
        """
        aboard = [future for future in self._aboard if not future.done()]
        self._aboard.clear()
        self._landed = True
        self._on_landing()
        return aboard
