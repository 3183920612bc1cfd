"""The rules that the ledger compares: what each makes of a refresh token that is presented.

A rule is a pure function of a session's row, the token and the clock. Tokens are numbered in the
order in which a session hands them out; the first is 0. Each rule is taken at its best: whatever
it does not accept it takes for a copy, and ends the session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from keyturn.core.model import Policy, Session
from keyturn.core.rotation import Decision, Verdict, decide

__all__ = ["ACCESS_TTL", "RULES", "WINDOW", "Decide", "Rule", "Ruling", "keyturn"]

POLICY: Final = Policy()
WINDOW: Final = POLICY.retry_window
ACCESS_TTL: Final = POLICY.access_ttl

Decide: TypeAlias = Callable[[Session | None, int, int, Policy], Decision]


class Ruling(NamedTuple):
    """Without a row the session is over; with a row but no token the client is to try again."""

    row: Any
    token: int | None


OVER: Final = Ruling(None, None)


@dataclass(frozen=True)
class Rule:
    """``begin(now)`` is the row of a sign-in; ``judge(row, token, now)`` rules on an exchange."""

    name: str
    begin: Callable[[int], Any]
    judge: Callable[[Any, int, int], Ruling]


def keyturn(judge: Decide = decide) -> Rule:
    """Keyturn's own rule, or a wrong neighbour of it."""

    def begin(now: int) -> Session:
        return Session(sid="sid", user_id="user", secret=b"secret", created_at=now)

    def ruling(row: Session, token: int, now: int) -> Ruling:
        decision = judge(row, token, now, POLICY)
        if decision.verdict in _ENDS:
            return OVER
        return Ruling(decision.session, decision.handed_out)

    return Rule("Keyturn", begin, ruling)


_ENDS: Final = frozenset({Verdict.REUSE, Verdict.ENDED})


def _strict_rotation(newest: int, token: int, _now: int) -> Ruling:
    """A token is good once; a second use ends the session (RFC 9700, section 4.14.2)."""
    return Ruling(token + 1, token + 1) if token == newest else OVER


class Lines(NamedTuple):
    """What a session with several lines of tokens remembers."""

    newest: int
    unused: frozenset[int]
    used_lately: tuple[tuple[int, int], ...]
    """Tokens with the time of their first use, as long as they are still accepted."""


def _forking_window(lines: Lines, token: int, now: int) -> Ruling:
    """A used token is accepted for a while, and every acceptance begins a line of its own."""
    newest, unused, used_lately = lines
    used_lately = tuple([used for used in used_lately if now - used[1] <= WINDOW])
    if token in unused:
        unused -= {token}
        used_lately = (*used_lately, (token, now))
    elif all(token != used for used, _ in used_lately):
        return OVER
    return Ruling(Lines(newest + 1, unused | {newest + 1}, used_lately), newest + 1)


class Last(NamedTuple):
    """What a session that knows only its last token remembers."""

    newest: int
    used: int
    used_at: int


def _last_replay_wins(last: Last, token: int, now: int) -> Ruling:
    """The token used last is accepted for a while; what it gave before is void then."""
    newest, used, used_at = last
    if token == newest:
        return Ruling(Last(newest + 1, token, now), newest + 1)
    if token == used and now - used_at <= WINDOW:
        return Ruling(Last(newest + 1, used, used_at), newest + 1)
    return OVER


class Family(NamedTuple):
    """A parent, and its children: ``first_child`` to ``newest``."""

    newest: int
    parent: int
    first_child: int


def _parent_always_accepted(family: Family, token: int, _now: int) -> Ruling:
    """Every exchange makes a new token; the parent is good until a child is used."""
    newest, parent, first_child = family
    if token >= first_child:
        return Ruling(Family(newest + 1, token, newest + 1), newest + 1)
    if token == parent:
        return Ruling(Family(newest + 1, parent, first_child), newest + 1)
    return OVER


RULES: Final = (
    keyturn(),
    Rule("strict rotation", lambda _: 0, _strict_rotation),
    Rule("forking window", lambda _: Lines(0, frozenset({0}), ()), _forking_window),
    Rule("last replay wins", lambda _: Last(0, -1, 0), _last_replay_wins),
    Rule("parent always accepted", lambda _: Family(0, -1, 0), _parent_always_accepted),
)
