"""What a service knows of an issuer's keys and cutoffs: learnt by a thread or two, asked by all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from keyturn import checking
from keyturn.core.cutoffs import CutoffView
from keyturn.core.errors import Unavailable
from keyturn.core.keyring import VerifyingKey
from keyturn.core.model import Cutoff
from keyturn.feed import ALIVE, ALIVE_SECONDS, CUTOFFS, KEYS, Alive, CutoffNews
from keyturn.jwks import read_jwks

__all__ = ["ClockWasSet", "Keys", "Knowledge"]

Keys = Mapping[str, VerifyingKey]
"""By the header that each writes."""

_FORGET_SECONDS: Final = 60
_LEEWAY_SECONDS: Final = 60


class ClockWasSet(Unavailable):
    """All of the feed is to be read anew."""

    message = "The clock was set: everything is learnt anew"


class Knowledge:
    """Keys and cutoffs, and a judge that goes by them.

    The feed tells all keys that there are, at once. Of the JWK set caches may hold copies, and a
    copy must not bring back what was dropped because it was stolen: what the feed ever told is
    taken from no copy, and what only a copy has is dropped again unless the feed tells it soon.

    Args:
        new_judge: makes what checks tokens by keys and cutoffs.
        clock: Unix time in seconds.
        steady_clock: seconds that never jump.
    """

    def __init__(
        self,
        new_judge: Callable[[Keys, CutoffView], checking.Verifier],
        *,
        clock: Callable[[], float],
        steady_clock: Callable[[], float],
    ) -> None:
        self._new_judge = new_judge
        self._clock = clock
        self._steady_clock = steady_clock
        self._apart = clock() - steady_clock()
        self._told: Keys = {}
        self._ever_told: frozenset[str] = frozenset()
        self._fetched_at = float("-inf")
        self._forget_at = float("-inf")
        self.cutoffs = CutoffView()
        self.place = ""
        """Where in the feed to go on from."""
        self.keys: Keys = {}
        self.judge = new_judge(self.keys, self.cutoffs)
        self.renew_lock()

    def renew_lock(self) -> None:
        """After a fork, as a thread that is not here any more may have held it."""
        self._lock = threading.Lock()

    def hear(self, name: str, data: str, place: str) -> None:
        """Learn what an event of the feed tells; one of a later release's may be unknown.

        Raises:
            ValueError: it is not what such an event holds.
            ClockWasSet: since the last time; the feed is to be followed from the new ``place``.
        """
        if name == KEYS:
            self._learn_told(read_jwks(data.encode()))
        elif name == CUTOFFS:
            self._learn_cutoffs(msgspec.json.decode(data, type=CutoffNews))
        elif name == ALIVE:
            self._learn_age(msgspec.json.decode(data, type=Alive))
        self.place = place or self.place

    def learn_fetched(self, keys: Keys) -> None:
        """Of the JWK set that was fetched: all keys that there are, but for what the feed told."""
        with self._lock:
            own = {header: key for header, key in keys.items() if header not in self._ever_told}
            self._fetched_at = self._steady_clock()
            self._use({**own, **self._told})

    def _learn_told(self, keys: Keys) -> None:
        with self._lock:
            self._told = keys
            self._ever_told |= keys.keys()
            self._use(keys)

    def _learn_cutoffs(self, news: CutoffNews) -> None:
        self.cutoffs.apply(
            Cutoff(cutoff.sid, cutoff.version, cutoff.expires_at) for cutoff in news.cutoffs
        )
        self.cutoffs.apply([Cutoff(None, news.issued_until, 0)])

    def _learn_age(self, alive: Alive) -> None:
        """All is known that the server knew so many seconds ago, and not less than before."""
        now = self._steady_clock()
        self._notice_a_clock_that_was_set(now)
        before = self.cutoffs.known_at
        known_at = now - alive.staleness
        self.cutoffs.caught_up(known_at if before is None else max(before, known_at))
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_SECONDS
            self.cutoffs.forget(int(self._clock()))
        with self._lock:
            if now >= self._fetched_at + ALIVE_SECONDS:
                self._use(self._told)

    def _notice_a_clock_that_was_set(self, now: float) -> None:
        """By the wrong one, ends were forgotten that are needed by the right one."""
        apart = self._clock() - now
        if abs(apart - self._apart) > _LEEWAY_SECONDS:
            self._apart = apart
            self.place = ""
            raise ClockWasSet

    def _use(self, keys: Keys) -> None:
        """With a judge of its own for every set: if a thread finds a token good by a key that is
        dropped meanwhile, the judge that remembers it is asked no more.
        """
        if keys.keys() != self.keys.keys():
            self.keys = keys
            self.judge = self._new_judge(keys, self.cutoffs)
