"""How exactly users are told when a session was used: by the day (UTC), and when that day is over.

A thief who reads it too must not learn when to follow. However coarse, what changed as a session is
used would tell him at that very moment, if only he asks often enough. So what is told at any time
depends on the uses before the last midnight alone.
"""

from __future__ import annotations

from typing import Final

from keyturn.core.model import DAY, Event, EventKind, Session

__all__ = ["happened_at", "is_exchange", "is_told", "last_used_at"]

_EXCHANGES: Final = frozenset({EventKind.RECOVERED, EventKind.RESUMED})


def last_used_at(session: Session, now: int) -> int:
    """The beginning of the day in which a session was used last, not counting the day of ``now``;
    of one that was begun then, that day.
    """
    if _is_over(session.last_used_at, now):
        return _day_of(session.last_used_at)
    earlier = session.used_before
    return _day_of(session.created_at if earlier is None else earlier)


def happened_at(event: Event) -> int:
    """When something happened; of what tells of an exchange the beginning of the day."""
    return _day_of(event.at) if is_exchange(event) else event.at


def is_told(event: Event, now: int) -> bool:
    """Whether it is told yet: what tells of an exchange, when its day is over."""
    return not is_exchange(event) or _is_over(event.at, now)


def is_exchange(event: Event) -> bool:
    """Whether it tells when a session was used."""
    return event.kind in _EXCHANGES


def _is_over(time: int, now: int) -> bool:
    """Whether the day of ``time`` is."""
    return time // DAY < now // DAY


def _day_of(time: int) -> int:
    return time - time % DAY
