"""``Sessions``: begin, check, exchange and end them. The one place that names the clock and
randomness; the rules are in ``core``, the rows in a store.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec

from .checking import Verifier
from .coalesce import HANDED_ON, Coalescer, HandedOn
from .complaints import Complaints
from .core import access_token, base64url, refresh_token
from .core.access_token import AccessToken
from .core.cutoffs import CutoffView
from .core.errors import (
    AccessTokenInvalid,
    ClaimsRefused,
    ConfigurationError,
    RefreshRefused,
    RefreshSuperseded,
    RefreshTokenInvalid,
    RefreshTokenReused,
    RowUnavailable,
    SessionExpired,
    SessionRevoked,
    SessionUnknown,
    SignInRaced,
    StoreUnavailable,
    Unavailable,
)
from .core.keyring import Keyring
from .core.model import (
    ALL_VERSIONS,
    DAY,
    Claims,
    Cutoff,
    Device,
    EndReason,
    Event,
    EventKind,
    Policy,
    SealedKey,
    Session,
    Tokens,
)
from .core.refresh_token import RefreshToken
from .core.rotation import Decision, Verdict, absolute_end, decide, ending, idle_end
from .core.server_secret import ServerSecrets
from .devices import fit_to_be_kept
from .feed import Feed, news_to
from .flight import Flight
from .observing import Observer, guarded, observed
from .signing_keys import KNOWN_AFTER, SigningKeys, is_long_known
from .staleness import Staleness
from .stores.base import ClaimsChange, Ending, Store, Swap, SweepBounds

__all__ = ["Sessions", "check_names", "checked_user_id"]

_ATTEMPTS: Final = 8
"""How often a lost race is run again before it is called a failure of ours."""
_POLL_SECONDS: Final = 0.5
_RELOAD_SECONDS: Final = 60
_SWEEP_SECONDS: Final = 3600
_SWEEP_BATCH: Final = 500
_END_BATCH: Final = 500
_SWEEP_PAUSE_SECONDS: Final = 0.2
_KEPT_AFTER_END: Final = 7 * DAY
_KEPT_BEYOND_EXPIRY: Final = DAY  # of cutoffs: whoever sweeps by a clock that is ahead takes none
_CHECK_SECONDS: Final = 1
_LONGEST_EXCHANGE: Final = 1 / 6
"""Of the window: half of what a round trip may take, and a write may land as late once more. But
never less than a second, which a store may take on a bad day.
"""

_Outcome = Tokens | Exception | Coroutine[Any, Any, Tokens] | HandedOn
"""Of an exchange: what is answered, what has yet to find out, or that a write has to be waited for.
"""
_SAID_BEFORE: Final = {Verdict.ECHO, Verdict.REPLAY}
"""Of exchanges that are answered as the turn before them was."""
_Content = tuple[str, str, int, int, int]
"""What tells an access token from all others: ``kid``, ``sid``, ``ver``, ``iat`` and ``exp``."""
_MOST_JUST_MINTED: Final = 1000
"""Access tokens that are kept, until one is minted in another second, for those who ask for the
same one again, as the tabs of a browser do that wake up together: to sign is what costs most.
"""
_TOLD: Final = {Verdict.RECOVER: EventKind.RECOVERED, Verdict.RESUME: EventKind.RESUMED}
_LONGEST_NAME: Final = 255
"""Bytes of the issuer, and of the audience: both are in every access token, which is bounded."""
_OF_TIME: Final = (None, EndReason.IDLE, EndReason.ABSOLUTE)


class _Exchange(msgspec.Struct, frozen=True, eq=False):
    """A refresh token that is being exchanged: since when, in whose context, for whom."""

    token: str
    presented: RefreshToken
    began: float
    context: Context
    flight: Flight[Tokens]


class _Turn(msgspec.Struct, frozen=True, eq=False):
    """An exchange as it was judged by the row, and what is to be written of it."""

    exchange: _Exchange
    decision: Decision
    swap: Swap


class _EndOfAll(msgspec.Struct, frozen=True):
    """That all sessions of a user but ``keep`` are to end, and why."""

    user_id: str
    keep: str | None
    reason: EndReason


class Sessions:
    """All sessions of one issuer, on one store.

    Use it as an asynchronous context manager: entering reads keys and cutoffs and begins to follow
    them, leaving lets exchanges in flight finish and closes the store; so does an entering that
    fails.

    It belongs to the event loop that it was entered on: asked for anything on another one, it
    raises ``RuntimeError``; so it does where it is to begin or exchange and was never entered. But
    ``verify`` and ``read`` may be called by any thread.

    Args:
        store: from ``keyturn.open_store``.
        secrets: the server's secrets, each at least 32 random bytes; the first makes, all check.
        issuer: ``iss`` of the access tokens, as a rule the public URL; at most 255 bytes, without
            spaces.
        audience: ``aud``, at most 255 bytes; the issuer if not given.
        policy: how long things last.
        signing_algorithm: ``ES256``, ``EdDSA`` or ``RS256``; a change makes a new key.
        max_staleness: seconds without news of cutoffs that are no cause for worry.
        on_stale: beyond them, whether ``verify`` still allows, or refuses with ``CutoffsStale``.
        clock: Unix time in seconds.
        steady_clock: seconds that never jump, for the age of what is known.
        observer: is told of what is done.
        sleep: lets seconds pass, while other processes learn of a new signing key.
        random_bytes: a cryptographically secure source.

    Raises:
        ConfigurationError: a secret is short, or a setting impossible.
    """

    def __init__(
        self,
        store: Store,
        *,
        secrets: Sequence[bytes],
        issuer: str,
        audience: str | None = None,
        policy: Policy | None = None,
        signing_algorithm: str = "ES256",
        max_staleness: float = 30,
        on_stale: Literal["allow", "refuse"] = "allow",
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        check_names(issuer, issuer if audience is None else audience)
        self.observer, self.store = guarded(observer), store
        if observer is not None:
            self.store = observed(store, Store, self.observer, steady_clock)
        self.secrets = ServerSecrets(secrets)
        self.issuer = issuer
        self.audience = issuer if audience is None else audience
        self.policy = Policy() if policy is None else policy
        self._keys = SigningKeys(self.store, self.secrets, signing_algorithm, random_bytes)
        self._clock = clock
        self._steady_clock = steady_clock
        self._sleep = sleep
        self._random_bytes = random_bytes
        self._cutoffs = CutoffView()
        self._cursor: int | None = None
        self._staleness = Staleness(
            self._cutoffs, at_most=max_staleness, on_stale=on_stale, steady_clock=steady_clock
        )
        self._longest_access_ttl = self.policy.access_ttl
        self._last_expiry = 0
        self._just_minted: dict[_Content, str] = {}
        self._minting_in = 0
        self._keyring = Keyring(())
        self._verifier = self._new_verifier()
        self.feed = Feed(
            self._cutoffs,
            staleness=lambda: self.staleness,
            nonce=random_bytes(8).hex(),
        )
        """What this process learns of revocations and keys, for those who follow it."""
        self._gets = Coalescer(
            self._get_all, key=lambda sid: sid, at_most=store.batch, lanes=store.lanes
        )
        self._exchanges: Coalescer[_Exchange, Any] = Coalescer(
            self._judge_all,
            key=lambda exchange: exchange.presented.sid,
            at_most=store.batch,
            lanes=store.lanes,
        )
        self._turns: Coalescer[_Turn, Any] = Coalescer(
            self._turn_all,
            key=lambda turn: turn.swap.old.sid,
            at_most=store.batch,
            lanes=store.lanes,
        )
        self._flights: dict[str, Flight[Tokens]] = {}
        self._ends: Coalescer[tuple[_EndOfAll, Flight[int]], int] = Coalescer(
            self._end_all, key=lambda asked: asked[0].user_id, at_most=1, lanes=store.lanes
        )
        self._boarding: dict[_EndOfAll, Flight[int]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checking: asyncio.Task[None] | None = None
        self._sound_until = float("-inf")
        self._complaints = Complaints(steady_clock)
        self._reading_keys = asyncio.Lock()

    def _new_verifier(self) -> Verifier:
        return Verifier(
            self._keyring.by_header,
            self._cutoffs,
            issuer=self.issuer,
            audience=self.audience,
            longest_ttl=self._longest_access_ttl,
        )

    # ── life ────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        try:
            await self.load()
        except BaseException:
            await self.store.close()
            raise
        self._background = {
            asyncio.create_task(self._follow_for_ever()),
            asyncio.create_task(self._sweep_for_ever()),
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let followers go and exchanges in flight finish, then close the store."""
        self._require_own_loop()
        self.feed.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._exchanges.drain()
        await self._turns.drain()  # exchanges are handed on to it
        await self._gets.drain()  # and both may read by it
        await self._ends.drain()
        await self.store.close()

    async def load(self) -> None:
        """Read keys, cutoffs and the longest life of access tokens; make the first key if there
        is none, and the next one if it is time. The running event loop is theirs from then on.

        Raises:
            ConfigurationError: the configured secrets do not open the stored keys.
            StoreUnavailable: the store does not answer.
        """
        await self.learn_access_ttl(self.policy.access_ttl)
        await self._keys.ensure(self.now())
        if fault := await self._read_keys():
            raise fault
        await self.catch_up(everything=True)
        self._loop = asyncio.get_running_loop()

    async def learn_access_ttl(self, at_least: int = 0) -> None:
        """Learn the longest life that access tokens were ever given on this store, by whichever
        process: what is ended here must stay void for as long. Enough where sessions are ended
        and nothing is minted, without ``load``.

        Args:
            at_least: seconds, recorded for the others if longer; 0 only asks.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        longest = await self.store.longest_access_ttl(at_least)
        if longest > self._longest_access_ttl:
            self._longest_access_ttl = longest
            self._verifier = self._new_verifier()

    @property
    def cutoff_ttl(self) -> int:
        """Seconds that a cutoff must be kept: no access token that it voids can live longer."""
        return self._longest_access_ttl + self._spare

    @property
    def _spare(self) -> int:
        return self.policy.leeway + 60

    def _tokens_until(self, now: int) -> int:
        """Until when access tokens were issued that a cutoff recorded ``now`` voids, by whichever
        clock. Where this one was set back, there are those that were issued before.
        """
        return max(now, self._last_expiry - self._longest_access_ttl) + self._spare

    def _require_own_loop(self) -> None:
        """On another one nobody would be woken when something has come of what they wait for; and
        where each call has a loop of its own, what is revoked elsewhere would never be learnt.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise self._misplaced()

    def _misplaced(self) -> RuntimeError:
        if self._loop is None:
            return RuntimeError("Enter the Sessions first: `async with sessions`")
        return RuntimeError("These Sessions belong to the event loop that they were entered on")

    @property
    def _store_here(self) -> Store:
        """The store, for who is on our own event loop."""
        self._require_own_loop()
        return self.store

    async def check_store(self) -> None:
        """Return if the store could be written to within the last second. Whoever asks at once
        shares one try.

        Raises:
            StoreUnavailable: it could not.
        """
        self._require_own_loop()
        if self._steady_clock() < self._sound_until:
            return
        if self._checking is None:
            self._checking = asyncio.create_task(self._check_store())
            self._checking.add_done_callback(self._checked)
        await asyncio.shield(self._checking)

    async def _check_store(self) -> None:
        asked_at = self._steady_clock()
        await self.store.check()
        self._sound_until = asked_at + _CHECK_SECONDS

    def _checked(self, check: asyncio.Task[None]) -> None:
        self._checking = None
        _see(check)

    def now(self) -> int:
        """Unix time in seconds, as this engine sees it."""
        return int(self._clock())

    # ── sign in ─────────────────────────────────────────────────────────────────────────────────

    async def user_epoch(self, user_id: str) -> int:
        """To be read before a user's credentials and claims, and given to ``create``: so that a
        sign-in that races a change of either is refused instead of outliving it.

        Raises:
            ClaimsRefused: no user can have such an id.
        """
        return await self._store_here.user_epoch(checked_user_id(user_id))

    async def create(
        self,
        user_id: str,
        claims: Claims | None = None,
        *,
        device: Device | None = None,
        remember: bool = True,
        replaces: str | None = None,
        epoch: int | None = None,
    ) -> Tokens:
        """Begin a session of a user who has just proved who they are.

        Args:
            user_id: 1 to 255 characters; ``sub`` of the access tokens.
            claims: what the access tokens say of the user.
            device: where the request came from; of each text 256 characters are kept, and none
                that cannot be printed.
            remember: False for cookies that end with the browser.
            replaces: a refresh token that the same client held before; its session ends.
            epoch: from ``user_epoch``.

        Raises:
            ClaimsRefused: an access token cannot carry the claims.
            TypeError: the device is not of text; it is empty where the client told nothing.
            SignInRaced: the user was changed after ``epoch`` was read.
            StoreUnavailable: nothing is known to have been done.
            Unavailable: an emergency cutoff lies in the future, so no access token can be issued.
            RuntimeError: they were not entered, or on another event loop; nothing was done.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise self._misplaced()
        claims = Claims() if claims is None else claims
        self._check_claims(user_id, claims)
        session = self._new_session(user_id, claims, device, remember=remember)
        # Else a row would be begun that nobody holds a token of.
        self._access_span(session, session.created_at)
        if epoch is None:
            epoch = await self.user_epoch(user_id)
        older = None if replaces is None else await self._session_of_refresh(replaces)
        ended = await self.store.add(
            session,
            limit=self.policy.max_sessions,
            replaces=older.sid if older else None,
            epoch=epoch,
            tokens_until=self._tokens_until(session.created_at),
        )
        if ended is None:
            raise SignInRaced
        self.apply(ended)
        self.observer.begun()
        return self._tokens(session, self._mint_refresh(session, 0))

    def _new_session(
        self, user_id: str, claims: Claims, device: Device | None, *, remember: bool
    ) -> Session:
        return Session(
            sid=base64url.encode(self._random_bytes(16)),
            user_id=user_id,
            secret=self._random_bytes(32),
            created_at=self.now(),
            claims=claims,
            device=fit_to_be_kept(device),
            remember=bool(remember),
        )

    def _check_claims(self, user_id: str, claims: Claims) -> None:
        access_token.check_claims(claims)
        now = self.now()
        example = AccessToken(
            user_id=checked_user_id(user_id),
            sid=base64url.encode(bytes(16)),
            version=0,
            issued_at=now,
            expires_at=now,
            auth_time=now,
            token_id=base64url.encode(bytes(12)),
            claims=claims,
        )
        access_token.check_size(self.issuer, self.audience, example)

    # ── check ───────────────────────────────────────────────────────────────────────────────────

    def verify(self, token: str) -> AccessToken:
        """What a good access token says. Does no I/O.

        Raises:
            AccessTokenInvalid: we did not issue it for this audience.
            AccessTokenExpired: its time is over.
            AccessTokenRevoked: its session ended, or its claims changed.
            CutoffsStale: what is revoked was never learnt, or too long ago.
        """
        self._staleness.check()
        return self._verifier.verify(token, int(self._clock()))

    def read(self, token: str) -> AccessToken:
        """What an access token of ours says, even if it has expired or was revoked. Only good for
        telling whose it is, never for letting anybody in. Does no I/O.

        Raises:
            AccessTokenInvalid: we did not issue it for this audience.
        """
        return self._verifier.read(token)

    @property
    def staleness(self) -> float:
        """Seconds since this process last knew every cutoff of the store; infinite before."""
        return self._staleness.seconds

    @property
    def known_cutoffs(self) -> int:
        """How many sessions have access tokens that are void, as far as this process knows."""
        return len(self._cutoffs.live)

    @property
    def stale(self) -> bool:
        """Whether ``staleness`` is beyond ``max_staleness``."""
        return self._staleness.excessive

    # ── exchange ────────────────────────────────────────────────────────────────────────────────

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for a new pair.

        Exchanges of one token share one flight, and a caller that is cancelled does not stop it.

        Raises:
            RefreshTokenInvalid: we did not issue it.
            RefreshSuperseded: too late by one turn; retry with the token held by now.
            RefreshTokenReused: somebody kept a copy; the session has been ended.
            SessionExpired: the session is over.
            SessionRevoked: the session was ended.
            StoreUnavailable: try again; nothing is lost.
            Unavailable: an emergency cutoff lies in the future, so no access token can be issued.
            RuntimeError: they were not entered, or on another event loop; nothing was done.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise self._misplaced()
        try:
            flight = self._flights.get(token)
        except TypeError:  # of a list, say
            raise RefreshTokenInvalid from None
        if flight is None:
            presented = refresh_token.parse(self.secrets, token)
            flight = Flight(partial(self._flights.pop, token))
            began, context = self._steady_clock(), copy_context()
            exchange = _Exchange(token, presented, began, context, flight)
            self._exchanges.carry(exchange, flight, context)
            self._flights[token] = flight  # now that nothing can keep it from ending
        return await flight.join()

    async def _judge_all(self, exchanges: Sequence[_Exchange]) -> list[_Outcome]:
        """The everyday exchange, of many at once: one read for all of them here, and one write in
        ``_turn_all``, so that who has nothing to write does not wait for it. What more there is to
        do for one of them is left to do for it alone.
        """
        rows = await self.store.get([exchange.presented.sid for exchange in exchanges])
        return [self._judged(exchange, rows.get(exchange.presented.sid)) for exchange in exchanges]

    def _judged(self, exchange: _Exchange, session: Session | None) -> _Outcome:
        try:
            decision = self._judge(exchange, session)
            turn = self._turn(session, decision)
            if turn is not None:
                judged = _Turn(exchange, decision, turn)
                self._turns.carry(judged, exchange.flight, exchange.context)
                return HANDED_ON
            if decision.session is not session:
                return self._exchange_alone(exchange)
            return self._answer(exchange, decision)
        except Exception as error:  # noqa: BLE001  whatever it was, it is not the others' business
            return error

    async def _turn_all(self, turns: Sequence[_Turn]) -> list[_Outcome]:
        won = await self._swap_all([turn.swap for turn in turns])
        return [self._turned(turn, each) for turn, each in zip(turns, won, strict=True)]

    def _turned(self, turn: _Turn, won: object) -> _Outcome:
        if isinstance(won, StoreUnavailable):
            return self._answer_if_written(turn, won) if self._is_single_use else won
        if not won:
            return self._exchange_alone(turn.exchange)
        try:
            return self._answer(turn.exchange, turn.decision)
        except Exception as error:  # noqa: BLE001  as above
            return error

    def _judge(self, exchange: _Exchange, session: Session | None) -> Decision:
        _check_genuine(exchange.presented, session)
        self._check_in_time(exchange.began)
        return decide(session, exchange.presented.generation, self.now(), self.policy)

    def _turn(self, session: Session | None, decision: Decision) -> Swap | None:
        """What is to be written of a session that lives on, if anything is."""
        judged = decision.session
        if session is None or judged is None or judged is session or judged.end_reason is not None:
            return None
        kind = _TOLD.get(decision.verdict)
        if kind is None:
            return Swap(session, judged)
        event = Event(at=self.now(), kind=kind, user_id=session.user_id, sid=session.sid)
        return Swap(session, judged, event)

    async def _swap_all(self, turns: Sequence[Swap]) -> Sequence[bool | StoreUnavailable]:
        """Whether each was written, or why that is not known."""
        try:
            return await self.store.swap(turns)
        except RowUnavailable:  # nothing was done; each will be by itself
            raise
        except StoreUnavailable as error:
            return [error] * len(turns)

    def _answer(self, exchange: _Exchange, decision: Decision) -> _Outcome:
        """What the client is answered, now that what was to be written is."""
        session = self._judged_session(exchange, decision)
        if self._cutoff_above(session) is not None:
            return self._hand_out_above_cutoff(exchange, decision, session)
        return self._hand_out(exchange, decision, session)

    async def _exchange_alone(self, exchange: _Exchange) -> Tokens:
        """Until the row is, when that is carried out, as it was when it was judged."""
        for _ in range(_ATTEMPTS):
            session = await self._gets.submit(exchange.presented.sid)
            decision = self._judge(exchange, session)
            if await self._carried_out(session, decision):
                judged = self._judged_session(exchange, decision)
                return await self._hand_out_above_cutoff(exchange, decision, judged)
        raise StoreUnavailable("The session is being changed too fast to follow")

    async def _carried_out(self, session: Session | None, decision: Decision) -> bool:
        """Write what was decided, unless the row was changed since it was judged."""
        if (turn := self._turn(session, decision)) is not None:
            (won,) = await self._swap_all([turn])
            return await self._wrote(turn, won) if isinstance(won, StoreUnavailable) else won
        judged = decision.session
        if session is None or judged is None or judged is session or judged.end_reason is None:
            return True
        return bool(await self._end([session.sid], judged.end_reason, session.generation))

    async def _answer_if_written(self, turn: _Turn, error: StoreUnavailable) -> Tokens:
        await self._wrote(turn.swap, error)
        judged = self._judged_session(turn.exchange, turn.decision)
        return await self._hand_out_above_cutoff(turn.exchange, turn.decision, judged)

    def _check_in_time(self, began: float) -> None:
        """An exchange that is judged or answered late can log out an honest client, a lost answer
        cannot. But where there is no window, nothing is late, and in strict single use it is the
        lost answer that does.
        """
        window = self.policy.retry_window
        longest = max(window * _LONGEST_EXCHANGE, 1)
        if window and self._steady_clock() - began > longest:
            raise StoreUnavailable("The exchange took too long to be answered")

    async def _wrote(self, turn: Swap, error: StoreUnavailable) -> bool:
        """What became of a turn that met an error. In strict single use a next try would be reuse,
        so the row itself is asked who won; else the next try is a replay.
        """
        if not self._is_single_use:
            raise error
        session = await self._gets.submit(turn.new.sid)
        if session is None or _generations(session) != _generations(turn.new):
            raise error
        return True

    @property
    def _is_single_use(self) -> bool:
        return not (self.policy.recover or self.policy.retry_window)

    def _judged_session(self, exchange: _Exchange, decision: Decision) -> Session:
        """The session that tokens are handed out of, now that what was decided is carried out."""
        seconds = self._steady_clock() - exchange.began
        exchange.context.run(self.observer.exchanged, decision.verdict, seconds)
        if decision.session is None or decision.handed_out is None:
            raise _refusal(decision)
        return decision.session

    async def _hand_out_above_cutoff(
        self, exchange: _Exchange, decision: Decision, session: Session
    ) -> Tokens:
        return self._hand_out(exchange, decision, await self._above_cutoff(session))

    def _hand_out(self, exchange: _Exchange, decision: Decision, session: Session) -> Tokens:
        generation = decision.handed_out or 0
        echoed = generation == exchange.presented.generation
        refresh = exchange.token if echoed else self._mint_refresh(session, generation)
        again = decision.verdict in _SAID_BEFORE
        tokens = self._tokens(session, refresh, echoed=echoed, again=again)
        self._check_in_time(exchange.began)
        return tokens

    def _cutoff_above(self, session: Session) -> Cutoff | None:
        """The cutoff that voids claims of the session's version, if there is one."""
        cutoff = self._cutoffs.of(session.sid)
        return None if cutoff is None or session.version > cutoff.version else cutoff

    async def _above_cutoff(self, session: Session) -> Session:
        """The session with claims of a version that no cutoff known here voids.

        A cutoff above the row is news that the row missed: of a change made since it was read, or
        made before the store fell back to an earlier state. Claims are only ever taken from the
        row that has their version.
        """
        for _ in range(_ATTEMPTS):
            cutoff = self._cutoff_above(session)
            if cutoff is None:
                return session
            session = await self._living_row(session.sid)
            if cutoff.version == ALL_VERSIONS:
                await self._end([session.sid], cutoff.reason or EndReason.REVOKED_BY_ADMIN)
                raise _over(cutoff.reason)
            if session.version <= cutoff.version:
                await self.store.raise_version(session.sid, cutoff.version)
                session = await self._living_row(session.sid)
        raise StoreUnavailable("The session's claims are being changed too fast to follow")

    async def _living_row(self, sid: str) -> Session:
        session = await self._gets.submit(sid)
        if session is None or session.ended_at is not None:
            raise _over(None if session is None else session.end_reason)
        return session

    # ── end ─────────────────────────────────────────────────────────────────────────────────────

    async def logout(self, *tokens: str) -> Sequence[str]:
        """End every session that the tokens name, refresh and access tokens alike, old ones too.

        What names no session of ours is passed over. An access token names its session for as long
        as the session's cutoffs are kept. Returns the ids of the sessions that this call ended.

        Raises:
            StoreUnavailable: some may live still.
        """
        self._require_own_loop()
        named = [await self._session_of(token) for token in tokens]
        # Whoever comes again and again with tokens of what has ended is to cost no writing.
        living = [session.sid for session in named if session and session.ended_at is None]
        return await self._end([*dict.fromkeys(living)], EndReason.LOGGED_OUT)

    async def _session_of(self, token: str) -> Session | None:
        try:
            access = self._verifier.read(token)
        except AccessTokenInvalid:
            return await self._session_of_refresh(token)
        if self.now() >= access.issued_at + self.cutoff_ttl:
            return None
        return await self._gets.submit(access.sid)

    async def _session_of_refresh(self, token: str) -> Session | None:
        try:
            presented = refresh_token.parse(self.secrets, token)
            session = await self._gets.submit(presented.sid)
            _check_genuine(presented, session)
        except RefreshTokenInvalid:
            return None
        return session

    async def revoke(
        self,
        sid: str,
        *,
        user_id: str | None = None,
        reason: EndReason = EndReason.REVOKED_BY_ADMIN,
    ) -> bool:
        """End one session; if it has ended already, nothing changes. Says whether this call did.

        Args:
            sid: from anywhere, also a stranger.
            user_id: the only user whose session it may be. Give it wherever a user asks.
            reason: what is told to whoever comes with its tokens.

        Raises:
            SessionUnknown: there is no such session, or it is another user's.
        """
        self._require_own_loop()
        session = await self._gets.submit(sid) if refresh_token.is_sid(sid) else None
        if session is None or user_id not in (None, session.user_id):
            raise SessionUnknown
        return session.ended_at is None and bool(await self._end([sid], reason))

    async def revoke_all(
        self,
        user_id: str,
        *,
        keep: str | None = None,
        reason: EndReason = EndReason.REVOKED_BY_ADMIN,
    ) -> int:
        """End all sessions of a user but ``keep``, sign-ins under way too; say how many.

        One call of a user is under way at a time, and those who ask for the same meanwhile share
        the next: else all of them would wait for one row, and keep others from the store. A caller
        that is cancelled does not stop it.

        Raises:
            ClaimsRefused: no user can have such an id.
        """
        self._require_own_loop()
        end = _EndOfAll(checked_user_id(user_id), keep, reason)
        if end not in self._boarding:
            self._boarding[end] = self._flight_to(end)
        return await self._boarding[end].join()

    def _flight_to(self, end: _EndOfAll) -> Flight[int]:
        flight: Flight[int] = Flight(lambda: self._end_boarding(end, flight))
        self._ends.carry((end, flight), flight, copy_context())
        return flight

    def _end_boarding(self, end: _EndOfAll, flight: Flight[int]) -> None:
        if self._boarding.get(end) is flight:
            del self._boarding[end]

    async def _end_all(self, asked: Sequence[tuple[_EndOfAll, Flight[int]]]) -> list[int]:
        [(end, flight)] = asked
        self._end_boarding(end, flight)  # who signs in from now on may escape it
        ended = await self.store.end_user(end.user_id, end.keep, self.ending(end.reason))
        self.apply(ended)
        return [len(ended)]

    async def revoke_since(
        self, since: int, *, reason: EndReason = EndReason.REVOKED_BY_ADMIN
    ) -> int:
        """End all sessions of all users that were begun or exchanged at ``since`` or later, in
        bounded batches; say how many. One that begins meanwhile may live on.

        Args:
            since: Unix time in seconds; 0 for all.
            reason: what is told to whoever comes with their tokens.

        Raises:
            StoreUnavailable: some may live still; ask again.
        """
        ended = 0
        async for sids in self._living(since):
            ended += len(await self._end(sids, reason))
        return ended

    async def void_all(self) -> None:
        """The emergency cutoff: void every access token issued until now. Sessions live on, and
        their next exchange hands out good ones.
        """
        now = self.now()
        self.apply([await self._store_here.void_all(now, self._tokens_until(now))])

    async def _end(
        self, sids: Sequence[str], reason: EndReason, generation: int | None = None
    ) -> Sequence[str]:
        """Those of the sessions that this ended."""
        if not sids:
            return []
        ended = await self._store_here.end(sids, self.ending(reason), generation=generation)
        self.apply(ended)
        return [cutoff.sid for cutoff in ended if cutoff.sid]

    def ending(self, reason: EndReason) -> Ending:
        """An end now, for ``reason``, as a store wants it told."""
        now = self.now()
        return Ending(reason, now, self._tokens_until(now))

    # ── claims and devices ──────────────────────────────────────────────────────────────────────

    async def list(self, user_id: str) -> Sequence[Session]:
        """The user's living sessions, newest first. Their secrets are not for showing.

        Raises:
            ClaimsRefused: no user can have such an id.
        """
        now = self.now()
        rows = await self._store_here.list_sessions(checked_user_id(user_id))
        return [session for session in rows if ending(session, now, self.policy) is None]

    async def list_all(self, *, since: int = 0, limit: int) -> Sequence[Session]:
        """Living sessions of all users that were begun or exchanged at ``since`` or later, in no
        order; as many as there are, or ``limit``. Their secrets are not for showing.
        """
        now, found = self.now(), list[Session]()
        async for sids in self._living(since):
            rows = (await self.store.get(sids)).values()
            found += [session for session in rows if ending(session, now, self.policy) is None]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _living(self, since: int) -> AsyncIterator[Sequence[str]]:
        """Ids of the sessions that were not ended, in bounded batches."""
        after = ""
        while True:
            sids, after = await self._store_here.living(since=since, after=after, limit=_END_BATCH)
            yield sids
            if not after:
                return

    async def events(self, user_id: str, *, limit: int) -> Sequence[Event]:
        """The newest events of a user and all their sessions, newest first.

        Raises:
            ClaimsRefused: no user can have such an id.
        """
        return await self._store_here.events(user_id=checked_user_id(user_id), limit=limit)

    async def history(self, sid: str, *, limit: int) -> tuple[Session | None, Sequence[Event]]:
        """What is kept of a session, ended or not, and its newest events, newest first."""
        self._require_own_loop()
        if not refresh_token.is_sid(sid):
            return None, []
        return await self._gets.submit(sid), await self.store.events(sid=sid, limit=limit)

    async def set_claims(self, user_id: str, claims: Claims) -> None:
        """Change what the access tokens of a user say. Those with the old claims are void at once;
        the next exchange of each session brings the new ones.

        Raises:
            ClaimsRefused: an access token cannot carry the claims.
        """
        change = self.claims_change(user_id, claims)
        changed = await self._store_here.set_claims(
            user_id,
            claims,
            at=change.at,
            least_version=change.least_version,
            tokens_until=change.tokens_until,
        )
        self.apply(changed)

    def claims_change(self, user_id: str, claims: Claims) -> ClaimsChange:
        """A change of the user's claims now, as a store of users wants it told.

        Raises:
            ClaimsRefused: an access token cannot carry the claims.
        """
        self._check_claims(user_id, claims)
        now = self.now()
        return ClaimsChange(claims, now, int(self._clock() * 1000), self._tokens_until(now))

    # ── cutoffs ─────────────────────────────────────────────────────────────────────────────────

    def apply(self, cutoffs: Sequence[Cutoff]) -> None:
        """Make cutoffs that a store returned effective in this process at once."""
        self._learn(cutoffs)
        ends = Counter(cutoff.reason for cutoff in cutoffs if cutoff.reason is not None)
        for reason, sessions in ends.items():
            self.observer.ended(reason, sessions)

    def _learn(self, cutoffs: Sequence[Cutoff]) -> None:
        news = news_to(self._cutoffs, cutoffs)
        self._cutoffs.apply(cutoffs)
        self.feed.tell_cutoffs(news)

    async def catch_up(self, *, everything: bool = False) -> None:
        """Learn the cutoffs that were recorded since the last time, or all of them."""
        asked_at = self._steady_clock()
        cursor = None if everything else self._cursor
        self._cursor, news = await self.store.cutoffs(cursor, self.now())
        self._learn(news)
        self._cutoffs.caught_up(asked_at)

    async def _follow_for_ever(self) -> None:
        reload_at, apart = self._steady_clock() + _RELOAD_SECONDS, self._clocks_apart()
        while True:
            try:
                await self.store.wait_for_change(_POLL_SECONDS)
                was_set = abs(self._clocks_apart() - apart) > self.policy.leeway
                if self._steady_clock() < reload_at and not was_set:
                    await self.catch_up()
                    await self._follow_keys()
                else:
                    await self._reload()
                    reload_at, apart = self._steady_clock() + _RELOAD_SECONDS, self._clocks_apart()
            except Exception as error:  # noqa: BLE001  whatever it was, following goes on
                self._complaints.report("cannot follow revocations", error)
                await asyncio.sleep(_POLL_SECONDS)

    def _clocks_apart(self) -> float:
        """The same seconds again and again, until the clock is set."""
        return self._clock() - self._steady_clock()

    async def _reload(self) -> None:
        """Once in a while, whatever an incremental view may have missed is read whole; and when the
        clock was set, as what had expired by the wrong one was forgotten.
        """
        await self.catch_up(everything=True)
        self._cutoffs.forget(self.now())
        await self.learn_access_ttl(self.policy.access_ttl)
        await self._follow_keys(renew=True)

    # ── signing keys ────────────────────────────────────────────────────────────────────────────

    @property
    def keyring(self) -> Keyring:
        """The signing keys in force, for the JWK set."""
        return self._keyring

    async def rotate_keys(self, *, at_once: bool = False) -> str:
        """Make a new signing key of the configured algorithm and return its ``kid``. It is
        published now and used once every copy of the JWK set knows it; the older one checks until
        its last token has ended. Needed by nobody: keys follow each other by themselves.

        Args:
            at_once: retire all older ones, as ``retire_key`` does; for when they may have leaked.

        Raises:
            ConfigurationError: the secrets do not open the stored keys; nothing was changed.
            StoreUnavailable: the store does not answer, or the keys were changed meanwhile: try
                again.
        """
        self._require_own_loop()
        key = await self._keys.rotate(self.now())
        if at_once:
            await self._let_sign(key)
            await self._keys.drop_all_before(key.kid)
        await self._read_keys()
        return key.kid

    async def retire_key(self, kid: str, *, lost: bool = False) -> None:
        """Drop a signing key that may have leaked: every process refuses the access tokens that it
        signed, this one at once and the others within a second. Sessions live on, and their next
        exchange hands out good ones. No other token is refused meanwhile: where no other key
        could sign, the next one is made to, or a new one, once every process knows it; which takes
        two seconds if it was made within the last minute.

        Services that follow the feed notice as soon; others, when they fetch the JWK set anew.

        Args:
            kid: of any stored key, also of one that does not sign yet, or is damaged.
            lost: also where nothing shows that the secrets are the right ones: they open neither
                this key nor, perhaps, any other. Whoever says so knows that the secret it was
                sealed under is gone for good, or that the only key is damaged.

        Raises:
            SigningKeyUnknown: there is no such key.
            ConfigurationError: the secrets do not open the other keys, or not the only one;
                nothing was changed.
            StoreUnavailable: the store does not answer, or the keys were changed meanwhile: try
                again.
        """
        self._require_own_loop()
        heir = await self._keys.heir_of(kid, self.now(), lost=lost)
        if not heir.signs:
            await self._let_sign(heir.key)
        await self._keys.drop(kid, heir=heir.key.kid)
        await self._read_keys()

    async def _let_sign(self, key: SealedKey) -> None:
        """A token must never reach a process that does not know its key yet."""
        if not is_long_known(key, self.now()):
            await self._sleep(KNOWN_AFTER)
        await self._keys.let_sign(key, self.now())

    async def _follow_keys(self, *, renew: bool = False) -> None:
        """Whatever happens, the keys that are known stay in use. As long as one cannot be opened,
        none is added or deleted: nobody knows what it is for.
        """
        try:
            fault = await self._read_keys()
            if fault is not None:
                self._complaints.report("cannot use every signing key", fault)
            elif renew:
                await self._keys.renew(self.now(), self.cutoff_ttl)
                await self._read_keys()
        except Exception as error:  # noqa: BLE001  whatever it was, the next look may be better
            self._complaints.report("cannot follow the signing keys", error)

    async def _read_keys(self) -> ConfigurationError | None:
        """Why not every stored key is in use as it is stored, if so. One look at a time: the later
        of two would take what the first one found for what it knew itself, and bring that back.
        """
        async with self._reading_keys:
            keyring, fault = await self._keys.read(self.keyring)
            if keyring is not self._keyring:
                self._keyring = keyring
                # A new one, as a thread in the midst of a check may keep what an old key signed.
                self._verifier = self._new_verifier()
                self.feed.tell_keys(keyring.jwks())
            return fault

    # ── minting ─────────────────────────────────────────────────────────────────────────────────

    def _tokens(
        self, session: Session, refresh: str, *, echoed: bool = False, again: bool = False
    ) -> Tokens:
        """Beside the refresh token an access token of the session as it was read; the same one
        ``again``, if it was signed just now.
        """
        now = self.now()
        random = self._random_bytes(14)  # at once: to ask the system for some is not cheap
        access, expires_at = self._mint_access(session, now, token_id=random[:12], again=again)
        over_at = min(idle_end(session, self.policy), absolute_end(session, self.policy))
        return Tokens(
            access_token=access,
            refresh_token=refresh,
            expires_in=expires_at - now,
            refresh_at=now + _spread(expires_at - now, random[12:]),
            refresh_expires_in=max(1, over_at - now),
            session=session,
            echoed=echoed,
        )

    def _mint_access(
        self, session: Session, now: int, *, token_id: bytes, again: bool
    ) -> tuple[str, int]:
        issued_at, expires_at = self._access_span(session, now)
        self._last_expiry = max(self._last_expiry, expires_at)
        key = self.keyring.signing_key(now)
        content = (key.kid, session.sid, session.version, issued_at, expires_at)
        token = self._just_minted.get(content) if again else None
        if token is None:
            if now != self._minting_in or len(self._just_minted) >= _MOST_JUST_MINTED:
                self._just_minted.clear()
                self._minting_in = now
            said = self._said_of(session, issued_at, expires_at, token_id)
            token = access_token.mint(key, self.issuer, self.audience, said)
            self._just_minted[content] = token
        return token, expires_at

    def _said_of(
        self, session: Session, issued_at: int, expires_at: int, token_id: bytes
    ) -> AccessToken:
        return AccessToken(
            user_id=session.user_id,
            sid=session.sid,
            version=session.version,
            issued_at=issued_at,
            expires_at=expires_at,
            auth_time=session.created_at,
            token_id=base64url.encode(token_id),
            claims=session.claims,
        )

    def _access_span(self, session: Session, now: int) -> tuple[int, int]:
        """From when to when an access token issued now is good.

        In the very second of an emergency cutoff, the next one is stamped; but a cutoff by a clock
        far ahead must not make tokens live until its time.
        """
        lifetime = min(self.policy.access_ttl, max(1, absolute_end(session, self.policy) - now))
        issued_at = max(now, self._cutoffs.issued_until + 1)
        if issued_at >= now + lifetime:
            raise Unavailable("Every access token issued until a later time is void")
        return issued_at, now + lifetime

    def _mint_refresh(self, session: Session, generation: int) -> str:
        if session.secret is None:  # it ended since it was judged
            raise _over(session.end_reason)
        return refresh_token.mint(self.secrets, session.sid, session.secret, generation)

    # ── housekeeping ────────────────────────────────────────────────────────────────────────────

    async def sweep(self, *, pause: float = 0) -> int:
        """Delete what has been over for long, in bounded batches with a pause in seconds between
        them; say how many rows. Runs by itself once an hour.
        """
        after, swept = "", 0
        while True:
            rows, after = await self._store_here.sweep(
                self._sweep_bounds(), after=after, limit=_SWEEP_BATCH
            )
            swept += rows
            if not after:
                return swept
            await asyncio.sleep(pause)

    def _sweep_bounds(self) -> SweepBounds:
        now = self.now()
        return SweepBounds(
            ended=now - _KEPT_AFTER_END,
            created=now - self.policy.absolute_lifetime - _KEPT_AFTER_END,
            last_used=now - self.policy.idle_timeout - _KEPT_AFTER_END,
            cutoffs=now - _KEPT_BEYOND_EXPIRY,
            events=now - self.policy.event_retention,
        )

    async def _sweep_for_ever(self) -> None:
        while True:
            # Processes that were started together do not sweep together.
            await asyncio.sleep(_SWEEP_SECONDS * (0.5 + self._random_bytes(1)[0] / 256))
            try:
                await self.sweep(pause=_SWEEP_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001  whatever it was, the next hour may be better
                self._complaints.report("cannot sweep", error)

    async def _get_all(self, sids: Sequence[str]) -> Sequence[Session | None]:
        rows = await self.store.get(sids)
        return [rows.get(sid) for sid in sids]


def _check_genuine(presented: RefreshToken, session: Session | None) -> None:
    """Of an ended session the tag alone has to do as proof."""
    if (
        session is not None
        and session.secret is not None
        and not refresh_token.proves(presented, session.secret)
    ):
        raise RefreshTokenInvalid


def _see(task: asyncio.Future[Any]) -> None:
    """What it raised is no unhandled error, even where every caller has gone."""
    if not task.cancelled():
        task.exception()


def _spread(lifetime: int, random: bytes) -> int:
    """Somewhere between 0.5 and 0.9 of the life, so that nobody can tell when."""
    fraction = int.from_bytes(random, "big") / 65536
    return int(lifetime * (0.5 + 0.4 * fraction))


def _refusal(decision: Decision) -> RefreshRefused:
    if decision.verdict is Verdict.LATE:
        return RefreshSuperseded()
    if decision.verdict is Verdict.REUSE:
        return RefreshTokenReused()
    return _over(None if decision.session is None else decision.session.end_reason)


def _over(reason: EndReason | None) -> SessionExpired | SessionRevoked:
    if reason in _OF_TIME:
        return SessionExpired(reason or "")
    return SessionRevoked(reason or "")


def _generations(session: Session) -> tuple[int, int, int, int, int | None]:
    return (
        session.generation,
        session.parent,
        session.first_child,
        session.previous_parent,
        session.turned_at,
    )


def check_names(issuer: str, audience: str) -> None:
    """Refuse what would leave no room for a user in an access token, or cannot be an issuer.

    Raises:
        ConfigurationError: one is empty, long, or not printable; or the issuer has spaces.
    """
    for setting, name in (("issuer", issuer), ("audience", audience)):
        if not name.isprintable() or not 0 < len(name.encode()) <= _LONGEST_NAME:
            raise ConfigurationError(setting, f"must be printable, of 1 to {_LONGEST_NAME} bytes")
    if " " in issuer:
        raise ConfigurationError("issuer", "must be a URL, without spaces")


def checked_user_id(user_id: str) -> str:
    """``user_id``, if a user can have it.

    Raises:
        ClaimsRefused: no store could hold it.
    """
    try:
        user_id.encode()
    except (AttributeError, UnicodeEncodeError):
        raise ClaimsRefused("user_id is not valid text") from None
    if not 0 < len(user_id) <= 255 or "\0" in user_id:
        raise ClaimsRefused("user_id must have 1 to 255 characters and no NUL")
    return user_id
