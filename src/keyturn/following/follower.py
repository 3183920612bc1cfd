"""The threads that follow an issuer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Final

from keyturn.complaints import Complaints
from keyturn.core.errors import ConfigurationError, KeyturnError, Unavailable
from keyturn.feed import ALIVE

from .issuer import Issuer, Metadata
from .knowledge import Knowledge

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

__all__ = ["Follower"]

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10
_SECONDS_TO_END: Final = 2


class Follower:
    """Keeps knowledge as good as the issuer lets it, in one process, until it is stopped.

    One thread follows the feed, or without a token reads the JWK set again and again. Another
    waits to be asked for an unknown key. They end with the process.

    Args:
        issuer: to be asked by this process only.
        knowledge: what learns.
        feed_token: what the issuer wants to see before it tells of revocations.
        refetch_interval: seconds in which the JWK set is read for unknown keys once at most.
        steady_clock: seconds that never jump.
    """

    def __init__(
        self,
        issuer: Issuer,
        knowledge: Knowledge,
        *,
        feed_token: str | None,
        refetch_interval: float,
        steady_clock: Callable[[], float],
    ) -> None:
        self._issuer = issuer
        self._knowledge = knowledge
        self._feed_token = feed_token
        self._refetch_interval = refetch_interval
        self._steady_clock = steady_clock
        self._metadata: Metadata | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._settled = threading.Event()
        self._stopping = threading.Event()
        self._fault: KeyturnError | None = None
        self._complaints = Complaints(steady_clock)
        self._asking = threading.Lock()
        self._asked = threading.Event()
        self._ask_again_at = float("-inf")
        self._may_hope = False
        self._threads = [
            threading.Thread(target=target, name="keyturn-follower", daemon=True)
            for target in (self._follow_for_ever, self._refetch_for_ever)
        ]

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to follow."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> None:
        """Return as soon as enough is known to judge by.

        Raises:
            ConfigurationError: it never will be, with this configuration or the issuer's.
            Unavailable: it was not within so many seconds; following goes on.
        """
        self._settled.wait(seconds)
        if not self.knows_enough:
            raise self._fault or Unavailable(f"Nothing was learnt within {seconds} seconds")

    def stop(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        self._asked.set()
        self._issuer.interrupt()
        for thread in self._threads:
            thread.join(_SECONDS_TO_END)
        self._issuer.close()

    @property
    def knows_enough(self) -> bool:
        """Whether there are keys and, where a feed tells them, cutoffs to judge by."""
        cutoffs_known = self._knowledge.cutoffs.known_at is not None
        return bool(self._knowledge.keys) and (cutoffs_known or self._feed_token is None)

    # ── following ───────────────────────────────────────────────────────────────────────────────

    def _follow_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001  whatever it was, following goes on
                self._metadata = None
                self._take_note_of(error)
            # Those who lost one server together do not come to the next together.
            self._stopping.wait(self._pause * (0.5 + os.urandom(1)[0] / 256))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    def _follow(self) -> None:
        self._metadata = self._metadata or self._issuer.metadata()
        if self._feed_token is None:
            self._read_keys(self._metadata)
        else:
            self._listen(self._metadata, self._feed_token)

    def _read_keys(self, metadata: Metadata) -> None:
        while not self._stopping.is_set():
            keys, max_age = self._issuer.keys(metadata.jwks_uri)
            self._knowledge.learn_fetched(keys)
            self._all_is_well()
            self._stopping.wait(max_age)

    def _listen(self, metadata: Metadata, token: str) -> None:
        if not metadata.revocations_uri:
            raise ConfigurationError("feed_token", "the issuer has no feed of revocations")
        place = self._knowledge.place
        with closing(self._issuer.events(metadata.revocations_uri, token, place)) as events:
            for event in events:
                if self._stopping.is_set():
                    return
                self._hear(event)
                if event.event == ALIVE:
                    self._all_is_well()

    def _hear(self, event: ServerSentEvent) -> None:
        try:
            self._knowledge.hear(event.event, event.data, event.id)
        except ValueError as error:
            what = f"The feed tells {event.event} that cannot be read: {error}"
            raise Unavailable(what) from None

    def _all_is_well(self) -> None:
        self._pause = _FIRST_PAUSE_SECONDS
        self._fault = None
        self._settled.set()

    def _take_note_of(self, error: Exception) -> None:
        if self._stopping.is_set():
            return  # whatever happens as connections are let go
        self._fault = error if isinstance(error, KeyturnError) else Unavailable()
        if isinstance(error, ConfigurationError):
            self._settled.set()
        self._complaints.report("cannot follow the issuer", error)

    # ── unknown keys ────────────────────────────────────────────────────────────────────────────

    def ask_for_keys(self) -> bool:
        """Have the JWK set read for a key that is not known, unless it was of late; say whether
        that key may yet turn out to be one.
        """
        with self._asking:
            now = self._steady_clock()
            if now >= self._ask_again_at and not self._asked.is_set():
                self._ask_again_at = now + self._refetch_interval
                self._may_hope = True
                self._asked.set()
            return self._may_hope

    def _refetch_for_ever(self) -> None:
        while self._asked.wait() and not self._stopping.is_set():
            try:
                metadata = self._metadata or self._issuer.metadata()
                keys, _ = self._issuer.keys(metadata.jwks_uri)
                self._knowledge.learn_fetched(keys)
                self._may_hope = False
            except Exception as error:  # noqa: BLE001  the next one who asks may have more luck
                self._take_note_of(error)
            self._asked.clear()
