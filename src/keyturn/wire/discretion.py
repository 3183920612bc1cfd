"""How exactly users are told when a session was used: by the hour. To the minute, a thief who reads
it too would know when to follow.
"""

from __future__ import annotations

from typing import Final

from keyturn.core.model import Event, EventKind, Session

__all__ = ["HOUR", "happened_at", "is_exchange", "last_used_at"]

HOUR: Final = 3600
"""Seconds."""
_EXCHANGES: Final = frozenset({EventKind.RECOVERED, EventKind.RESUMED})


def last_used_at(session: Session) -> int:
    """The beginning of the hour in which a session was used last."""
    return _hour_of(session.last_used_at)


def happened_at(event: Event) -> int:
    """When something happened; of what tells of an exchange the beginning of the hour."""
    return _hour_of(event.at) if is_exchange(event) else event.at


def is_exchange(event: Event) -> bool:
    """Whether it tells when a session was used."""
    return event.kind in _EXCHANGES


def _hour_of(time: int) -> int:
    return time - time % HOUR
