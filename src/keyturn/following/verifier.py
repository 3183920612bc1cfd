"""``Verifier``: checks access tokens of an issuer elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self
from weakref import WeakSet

import msgspec

from keyturn import checking
from keyturn.core import base64url
from keyturn.core.access_token import AccessToken
from keyturn.core.cutoffs import CutoffView
from keyturn.core.errors import AccessTokenInvalid, ConfigurationError, Unavailable
from keyturn.core.keyring import ALGORITHMS
from keyturn.core.model import DAY
from keyturn.staleness import Staleness

from .follower import Follower
from .issuer import Issuer, check_url
from .knowledge import Keys, Knowledge

if TYPE_CHECKING:
    import httpx

__all__ = ["Verifier"]

_LONGEST_HEADER: Final = 128


class Verifier:
    """Checks the access tokens of an issuer elsewhere, as that does itself, without asking it.

    Use it as a context manager, or call ``start`` and ``close``. From then on it follows the
    issuer's keys and, with a ``feed_token``, what is revoked: within a second. Without one, a
    revoked access token is good until it ends. Any thread may ask it; a process that is forked off
    follows by itself. Needs the extra ``keyturn[verifier]``.

    Args:
        issuer: ``iss`` of the access tokens. Its metadata are read there (RFC 8414).
        audience: ``aud``; the issuer if not given.
        feed_token: one of the issuer's ``KEYTURN_REVOCATIONS_TOKEN``.
        max_staleness: seconds without news of revocations that are no cause for worry.
        on_stale: beyond them, whether ``verify`` still allows, or refuses with ``CutoffsStale``.
        refetch_interval: seconds in which tokens with unknown keys have the JWK set read once.
        longest_ttl: seconds; a token with a longer life is none of the issuer's.
        clock: Unix time in seconds.
        steady_clock: seconds that never jump.
        new_client: makes the HTTP client, in each process.

    Raises:
        ConfigurationError: a setting is impossible, or contradicts another.
    """

    def __init__(
        self,
        issuer: str,
        *,
        audience: str | None = None,
        feed_token: str | None = None,
        max_staleness: float = 30,
        on_stale: Literal["allow", "refuse"] = "allow",
        refetch_interval: float = 10,
        longest_ttl: int = DAY,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
        new_client: Callable[[], httpx.Client] | None = None,
    ) -> None:
        check_url("issuer", issuer)
        if feed_token is None and on_stale == "refuse":
            raise ConfigurationError("on_stale", "refuse needs a feed_token")
        if feed_token is not None and not (feed_token.isascii() and feed_token.isprintable()):
            raise ConfigurationError("feed_token", "must be printable ASCII")
        if feed_token == "":
            raise ConfigurationError("feed_token", "is empty")
        self.issuer = issuer
        self.audience = issuer if audience is None else audience
        self._feed_token = feed_token
        self._refetch_interval = refetch_interval
        self._longest_ttl = longest_ttl
        self._clock = clock
        self._steady_clock = steady_clock
        self._new_client = new_client
        self._knowledge = Knowledge(self._new_judge, clock=clock, steady_clock=steady_clock)
        self._staleness = Staleness(
            self._knowledge.cutoffs,
            at_most=max_staleness,
            on_stale=on_stale,
            steady_clock=steady_clock,
        )
        self._follower: Follower | None = None
        self._renew_locks()
        _of_this_process.add(self)

    def _new_judge(self, keys: Keys, cutoffs: CutoffView) -> checking.Verifier:
        return checking.Verifier(
            keys,
            cutoffs,
            issuer=self.issuer,
            audience=self.audience,
            longest_ttl=self._longest_ttl,
        )

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, timeout: float = 10) -> None:
        """Follow the issuer, and return as soon as access tokens can be checked; until then it
        blocks. Whatever is raised, following goes on until ``close``.

        Raises:
            ConfigurationError: httpx is not installed, the issuer is another or has no feed, or the
                feed token is refused.
            Unavailable: the issuer told too little within ``timeout`` seconds.
        """
        with self._lock:
            follower = self._follower or self._follow()
        follower.wait(timeout)

    def close(self) -> None:
        """Follow no longer."""
        with self._lock:
            follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()

    def _follow(self) -> Follower:
        self._follower = Follower(
            Issuer(self.issuer, self._new_client),
            self._knowledge,
            feed_token=self._feed_token,
            refetch_interval=self._refetch_interval,
            steady_clock=self._steady_clock,
        )
        self._follower.start()
        return self._follower

    def _after_fork(self) -> None:
        """The threads are not here, their connections are not ours, what they learnt is."""
        self._renew_locks()
        if self._follower is not None:
            self._follow()

    def _renew_locks(self) -> None:
        """As a thread that is not here any more may have held them."""
        self._lock = threading.Lock()
        self._knowledge.renew_lock()

    # ── check ───────────────────────────────────────────────────────────────────────────────────

    def verify(self, token: str) -> AccessToken:
        """What a good access token says. Does no I/O.

        Raises:
            AccessTokenInvalid: the issuer did not issue it for this audience.
            AccessTokenExpired: its time is over.
            AccessTokenRevoked: its session ended, or its claims changed.
            CutoffsStale: what is revoked was never learnt, or too long ago.
            Unavailable: the keys were never learnt, or its key is just being asked for.
        """
        self._require_knowledge()
        try:
            return self._knowledge.judge.verify(token, int(self._clock()))
        except AccessTokenInvalid:
            if self._may_become_good(token):
                raise Unavailable("The key of an access token is not known yet") from None
            raise

    @property
    def staleness(self) -> float:
        """Seconds since every revocation was last known; infinite before, and without the feed."""
        return self._staleness.seconds

    def _require_knowledge(self) -> None:
        if self._feed_token is not None:
            self._staleness.check()
        elif not self._knowledge.keys:
            raise Unavailable("The keys of the issuer were never learnt")

    def _may_become_good(self, token: str) -> bool:
        """Whether its key is none of those known, but may turn out to be one soon."""
        header = str(token).partition(".")[0]
        follower = self._follower
        return (
            follower is not None
            and header not in self._knowledge.keys
            and _is_written_by_a_key(header)
            and follower.ask_for_keys()
        )


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


def _is_written_by_a_key(header: str) -> bool:
    """Whether it is as a key of an issuer writes it. It is read for this question only, and
    whatever it says, nothing else is done with it.
    """
    if len(header) > _LONGEST_HEADER:
        return False
    try:
        written = base64url.decode(header)
        said = msgspec.json.decode(written, type=_Header)
        kid_bytes = len(base64url.decode(said.kid))
    except ValueError:
        return False
    return (
        said.alg in ALGORITHMS
        and said.typ == "at+jwt"
        and kid_bytes == 32
        and msgspec.json.encode(said) == written
    )


_of_this_process: WeakSet[Verifier] = WeakSet()


def _follow_here_too() -> None:
    for verifier in list(_of_this_process):
        verifier._after_fork()  # noqa: SLF001  nobody else may


if hasattr(os, "register_at_fork"):  # where processes fork
    os.register_at_fork(after_in_child=_follow_here_too)
