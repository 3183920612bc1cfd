"""Any order of sign-ins, exchanges, ends, changes of claims, clock steps and restarts does what a
model of forty lines says.
"""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from keyturn.core.errors import (
    AccessTokenExpired,
    AccessTokenRevoked,
    KeyturnError,
    RefreshSuperseded,
    RefreshTokenReused,
    SessionExpired,
    SessionRevoked,
)
from keyturn.core.model import Claims, EndReason, Policy, Tokens
from keyturn.core.refresh_token import parse
from keyturn.sessions import Sessions
from keyturn.stores.memory import MemoryStore
from tests.support import Clock, engine

POLICY = Policy(access_ttl=100, retry_window=30, idle_timeout=1000, absolute_lifetime=5000)


class ModelSession:
    """The protocol in sets: what is live, what brought it forth, what was superseded just now."""

    def __init__(self, now: int) -> None:
        self.created = self.used = now
        self.turned: int | None = None
        self.live, self.superseded, self.left_behind = {0}, set[int](), set[int]()
        self.parent = -1
        self.ended: type[KeyturnError] | None = None
        self.version = 0

    def exchange(self, g: int, now: int) -> int | type[KeyturnError]:  # noqa: PLR0911  a verdict each
        """The generation handed out, or the refusal."""
        if self.over(now):
            self.ended = self.ended or SessionExpired
            return self.ended
        if self.turned is not None and abs(now - self.turned) <= POLICY.retry_window:
            if g in self.live - self.left_behind:
                return g
            if g == self.parent:
                return max(self.live)
            if g in self.superseded:
                return RefreshSuperseded
        elif g == self.parent:
            self.superseded, self.left_behind = set(), self.live - {max(self.live)}
            self.live = self.live | {max(self.live) + 1}
            return self._turned(now)
        if g in self.live:
            self.superseded, self.left_behind = set(range(self.parent, max(self.live) + 1)), set()
            self.parent, self.live = g, {max(self.live) + 1}
            return self._turned(now)
        self.ended = SessionRevoked
        return RefreshTokenReused

    def _turned(self, now: int) -> int:
        self.turned = now
        self.used = max(self.created, now)
        return max(self.live)

    def over(self, now: int) -> bool:
        """Whether the session has ended at ``now``; once seen to be over, it stays so."""
        if self.ended is None and (
            now >= self.created + POLICY.absolute_lifetime or now >= self.used + POLICY.idle_timeout
        ):
            return True
        return self.ended is not None


class SessionsAgainstModel(RuleBasedStateMachine):
    """Drives the real engine and the model side by side."""

    handed_out = Bundle("handed_out")

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.latest = self.now
        self.store = MemoryStore()
        self.model: dict[str, ModelSession] = {}
        self.sessions: Sessions = engine(self.store, self.clock, policy=POLICY)
        self.run(self.sessions.load())

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @property
    def now(self) -> int:
        return int(self.clock.now)

    @rule(target=handed_out, user=st.sampled_from(["ada", "bob"]))
    def sign_in(self, user: str) -> Tokens:
        tokens: Tokens = self.run(self.sessions.create(user))
        self.model[tokens.session.sid] = ModelSession(self.now)
        return tokens

    @rule(target=handed_out, held=handed_out)
    def exchange(self, held: Tokens) -> Tokens:
        expected = self.model[held.session.sid].exchange(self.generation(held), self.now)
        if isinstance(expected, int):
            tokens: Tokens = self.run(self.sessions.refresh(held.refresh_token))
            assert self.generation(tokens) == expected
            assert tokens.echoed == (tokens.refresh_token == held.refresh_token)
            return tokens
        with pytest.raises(expected):
            self.run(self.sessions.refresh(held.refresh_token))
        return held

    @rule(held=handed_out, by_access_token=st.booleans())
    def log_out(self, held: Tokens, *, by_access_token: bool) -> None:
        model = self.model[held.session.sid]
        known = self.now < self.sessions._verifier.read(held.access_token).issued_at + (
            self.sessions.cutoff_ttl
        )
        self.run(self.sessions.logout(held.access_token if by_access_token else held.refresh_token))
        if known or not by_access_token:
            model.ended = model.ended or SessionRevoked

    @rule(held=handed_out)
    def revoke(self, held: Tokens) -> None:
        self.run(self.sessions.revoke(held.session.sid))
        self.model[held.session.sid].ended = self.model[held.session.sid].ended or SessionRevoked

    @rule(held=handed_out)
    def revoke_the_users_others(self, held: Tokens) -> None:
        keep = held.session.sid
        self.run(
            self.sessions.revoke_all(
                held.session.user_id, keep=keep, reason=EndReason.REVOKED_BY_USER
            )
        )
        for sid, user in self.users.items():
            if user == held.session.user_id and sid != keep:
                self.model[sid].ended = self.model[sid].ended or SessionRevoked

    @rule(held=handed_out, name=st.sampled_from(["x", "y"]))
    def change_claims(self, held: Tokens, name: str) -> None:
        user = held.session.user_id
        self.run(self.sessions.set_claims(user, Claims(username=name)))
        for sid, owner in self.users.items():
            if owner == user and self.model[sid].ended is None:
                self.model[sid].version = max(self.model[sid].version + 1, self.now * 1000)

    @rule(seconds=st.sampled_from([1, 10, 29, 30, 31, 60, 99, 100, 500, 1000, -10, -40]))
    def time_passes(self, seconds: int) -> None:
        if self.now + seconds >= self.latest - POLICY.leeway:  # further back, no promise holds
            self.clock.sleep(seconds)
            self.latest = max(self.latest, self.now)

    @rule()
    def the_process_restarts(self) -> None:
        self.sessions = engine(self.store, self.clock, policy=POLICY)
        self.run(self.sessions.load())

    @rule(held=handed_out)
    def check(self, held: Tokens) -> None:
        model = self.model[held.session.sid]
        said = self.sessions._verifier.read(held.access_token)
        try:
            self.sessions.verify(held.access_token)
            accepted = True
        except AccessTokenExpired:
            accepted = False
            assert said.expires_at <= self.now
        except AccessTokenRevoked:
            accepted = False
            assert model.ended is not None or said.version < model.version

        may_live = said.expires_at > self.now and said.version == model.version
        assert accepted == (may_live and model.ended is None)

    @invariant()
    def one_row_a_session(self) -> None:
        if hasattr(self, "model"):
            rows = self.run(self.store.get(list(self.model)))
            assert set(rows) == set(self.model)

    @property
    def users(self) -> dict[str, str]:
        rows = self.run(self.store.get(list(self.model)))
        return {sid: row.user_id for sid, row in rows.items()}

    def generation(self, tokens: Tokens) -> int:
        return parse(self.sessions.secrets, tokens.refresh_token).generation


SessionsAgainstModel.TestCase.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None
)
TestSessionsAgainstModel = SessionsAgainstModel.TestCase
