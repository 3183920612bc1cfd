"""What becomes known in a process of revocations and keys, told to all who follow.

A follower is told everything at first, then what is new. Whoever was away for a moment, or reads
slowly, goes on from its place as long as the backlog reaches back to there; else it is told
everything again. So nothing is missed, and all followers share one backlog of bounded size.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from .core.cutoffs import CutoffView
from .core.model import Cutoff

__all__ = [
    "ALIVE",
    "ALIVE_SECONDS",
    "CUTOFFS",
    "KEYS",
    "Alive",
    "CutoffNews",
    "Feed",
    "FeedEvent",
    "SessionCutoff",
    "news_to",
]

KEYS: Final = "keys"
"""Name of the event that holds the JWK set, the whole of it."""
CUTOFFS: Final = "cutoffs"
"""Name of the event that holds ``CutoffNews``."""
ALIVE: Final = "alive"
"""Name of the event that holds ``Alive``."""

ALIVE_SECONDS: Final = 5
"""No follower hears nothing for longer."""

_CUTOFFS_OF_EVENT: Final = 500
_BACKLOG_BYTES: Final = 1 << 20
_ID: Final = re.compile(r"([0-9a-f]+)-([0-9]{1,18})")
_NOWHERE: Final = -1


class SessionCutoff(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Access tokens of session ``sid`` up to ``version`` are void; none lives after ``expiresAt``
    (Unix time). ``reason`` says why the session ended, if it did.
    """

    sid: str
    version: int
    expires_at: int
    reason: str = ""


class CutoffNews(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Cutoffs that became known. ``issuedUntil`` is the emergency cutoff, a Unix time: every access
    token issued at or before it is void.
    """

    cutoffs: list[SessionCutoff]
    issued_until: int = 0


class Alive(msgspec.Struct, frozen=True):
    """All that is known was told. ``staleness`` is how many seconds ago the server last knew every
    cutoff of its store.
    """

    staleness: float


class FeedEvent(msgspec.Struct, frozen=True):
    """One thing that followers are told."""

    name: str
    data: bytes
    """JSON in one line."""
    id: str = ""
    """The place behind it, to go on from; none in the midst of everything."""


class Feed:
    """Tells followers what it is told.

    Args:
        cutoffs: all that are known.
        staleness: how many seconds ago every cutoff of the store was last known.
        nonce: hexadecimal digits that no other process has, so that its places are not taken for
            ours.
    """

    def __init__(
        self,
        cutoffs: CutoffView,
        *,
        staleness: Callable[[], float],
        nonce: str,
    ) -> None:
        self._cutoffs = cutoffs
        self._keys = b'{"keys":[]}'
        self._staleness = staleness
        self._nonce = nonce
        self._backlog: deque[FeedEvent] = deque()
        self._backlog_bytes = 0
        self._told = 0
        self._changed = asyncio.Event()
        self._closed = False
        self.followers = 0
        """How many follow just now."""

    def tell_cutoffs(self, news: Sequence[Cutoff]) -> None:
        """Tell of cutoffs, which are among those known by now."""
        for data in _written(news):
            self._tell(CUTOFFS, data)

    def tell_keys(self, jwks: bytes) -> None:
        """Tell the JWK set, which is new or has changed."""
        self._keys = jwks
        self._tell(KEYS, jwks)

    def _tell(self, name: str, data: bytes) -> None:
        self._told += 1
        self._backlog.append(FeedEvent(name, data, self._id(self._told)))
        self._backlog_bytes += len(data)
        while self._backlog_bytes > _BACKLOG_BYTES:
            self._backlog_bytes -= len(self._backlog.popleft().data)
        self._wake_followers()

    def close(self) -> None:
        """Let every follower go; there will be no news here."""
        self._closed = True
        self._wake_followers()

    def _wake_followers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, last_id: str = "") -> AsyncGenerator[FeedEvent, None]:
        """What is new since ``last_id``, or everything if that place is not known here; then what
        becomes known, until the feed is closed. There is an event at least every ``ALIVE_SECONDS``.
        """
        place = self._place(last_id)
        self.followers += 1
        try:
            while not self._closed:
                changed = self._changed
                if self._told - place > len(self._backlog):
                    place = self._told
                    for event in self._everything():
                        yield event
                elif place < self._told:
                    event = self._backlog[place - self._told]
                    place += 1
                    yield event
                else:
                    yield self._alive(place)
                    await _set_in_time(changed)
        finally:
            self.followers -= 1

    def _place(self, last_id: str) -> int:
        """How many events had been told there; ``_NOWHERE`` if that was not here."""
        match = _ID.fullmatch(last_id)
        if match is None or match[1] != self._nonce or int(match[2]) > self._told:
            return _NOWHERE
        return int(match[2])

    def _id(self, place: int) -> str:
        return f"{self._nonce}-{place}"

    def _alive(self, place: int) -> FeedEvent:
        alive = Alive(round(self._staleness(), 3))
        return FeedEvent(ALIVE, msgspec.json.encode(alive), self._id(place))

    def _everything(self) -> Iterator[FeedEvent]:
        yield FeedEvent(KEYS, self._keys)
        emergency = Cutoff(None, self._cutoffs.issued_until, 0)
        for data in _written((emergency, *self._cutoffs.live)):
            yield FeedEvent(CUTOFFS, data)


def news_to(view: CutoffView, cutoffs: Iterable[Cutoff]) -> list[Cutoff]:
    """Those of the cutoffs that void what the view does not, or for longer."""
    return [cutoff for cutoff in cutoffs if not _covers(view, cutoff)]


def _covers(view: CutoffView, cutoff: Cutoff) -> bool:
    if cutoff.sid is None:
        return cutoff.version <= view.issued_until
    held = view.of(cutoff.sid)
    if held is None or held == cutoff:  # as nearly all are, and there may be many
        return held is not None
    return (held.version, held.expires_at) >= (cutoff.version, cutoff.expires_at)


def _written(cutoffs: Sequence[Cutoff]) -> Iterator[bytes]:
    """As ``CutoffNews``, not too many in one."""
    for start in range(0, len(cutoffs), _CUTOFFS_OF_EVENT):
        some = cutoffs[start : start + _CUTOFFS_OF_EVENT]
        of_sessions = [
            SessionCutoff(cutoff.sid, cutoff.version, cutoff.expires_at, cutoff.reason or "")
            for cutoff in some
            if cutoff.sid is not None
        ]
        emergency = max((cutoff.version for cutoff in some if cutoff.sid is None), default=0)
        yield msgspec.json.encode(CutoffNews(of_sessions, emergency))


async def _set_in_time(event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(ALIVE_SECONDS):
            await event.wait()
