"""Who waits for a turn, and whose is next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from contextlib import suppress

from keyturn.core.errors import Unavailable

__all__ = ["Lines"]


class Lines:
    """A line for each asker, who are called by turns: one that asks for much waits longer itself,
    and keeps nobody else from being called. Of one asker the first to come is the first.

    Args:
        room: how many may wait in all lines together.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self.waiting = 0
        """How many there are."""

    def join(self, asker: Hashable, turn: asyncio.Future[None]) -> None:
        """Wait until ``turn`` is done. Where there is no room, the last of the longest line has to
        leave for one of a shorter line: then ``turn`` fails.

        Raises:
            Unavailable: there is no room for this one.
        """
        if self.waiting >= self._room:
            self._make_room(len(self._lines.get(asker, ())))
        self._lines.setdefault(asker, deque()).append(turn)
        self.waiting += 1

    def leave(self, asker: Hashable, turn: asyncio.Future[None]) -> None:
        """Wait no longer; nothing happens to who does not."""
        with suppress(KeyError, ValueError):
            self._lines[asker].remove(turn)
            self.waiting -= 1
            if not self._lines[asker]:
                del self._lines[asker]

    def call_next(self) -> bool:
        """Let one go on; False if there is none."""
        while self._lines:
            asker = next(iter(self._lines))
            line = self._lines.pop(asker)
            turn = line.popleft()
            self.waiting -= 1
            if line:
                self._lines[asker] = line  # behind all others
            if not turn.done():
                turn.set_result(None)
                return True
        return False

    def _make_room(self, own: int) -> None:
        longest = max(self._lines, key=lambda asker: len(self._lines[asker]), default=None)
        if len(self._lines.get(longest, ())) < own + 2:  # else they would only change places
            raise Unavailable
        last = self._lines[longest][-1]
        self.leave(longest, last)
        if not last.done():
            last.set_exception(Unavailable())
