"""What becomes of honest users and of thieves: who is logged out by mistake, who stays unseen, and
for how long an access token outlives its session.

All contenders serve at the same time, so that they wait for the same minutes. Each is given the
same tokens at the same times, and judged by its answers alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Final, Literal

import msgspec
from tests.postgresql import running

from .asking import Answer, connected
from .contenders.model import Contender
from .environments import Environment
from .trial import SETTINGS, Held, Trial, on_trial

__all__ = [
    "AT_ONCE", "LATE", "RACES", "SOON", "THIEF_FIRST", "VICTIM_FIRST", "WAIT",
    "Logout", "Race", "Row", "Theft", "judge_race", "lost", "measure", "theft",
]  # fmt: skip

RACES: Final = 25
AT_ONCE: Final = 8
SOON, LATE = 1, 60
"""Seconds after which a token is presented again whose answer was lost."""

WAIT: Final = 35
"""Seconds between exchanges: more than any contender's window."""

_POLL: Final = 0.01
_POLLED_FOR: Final = 5

Party = Literal["thief", "victim"]
Exchange = Callable[[str], Answer]
Until = Callable[[float], None]
"""Waits until so many seconds after the begin."""

THIEF_FIRST: Final[Sequence[Party]] = ("thief", "victim", "thief", "victim")
VICTIM_FIRST: Final[Sequence[Party]] = ("victim", "victim", "thief")


class Race(msgspec.Struct, frozen=True):
    """One token, presented by eight at once."""

    successors: int
    """Different tokens that were handed out."""
    refused: int
    """Of the eight."""
    lines: int
    """How many of the successors were good when each was exchanged, one after the other."""


class Theft(msgspec.Struct, frozen=True):
    """How it ended that a thief copied a token, and both went on with what they were handed."""

    refused: Party | None
    """Who was, first; nobody, in all that was tried."""
    after: int
    """Seconds from the first exchange to that refusal, or to the end."""
    other_goes_on: bool
    """Whether what the other one held was good still, right afterwards."""


class Logout(msgspec.Struct, frozen=True):
    """What became of an access token at the logout."""

    refused_after_ms: float | None
    """Or None where it was good still, five seconds later."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Of one contender. What it does not offer is None."""

    contender: str
    races: Sequence[Race] | None = None
    goes_on_soon: bool | None = None
    """Whether the token whose answer was lost was good still after a second."""
    goes_on_late: bool | None = None
    """And after a minute."""
    thief_first: Theft | None = None
    victim_first: Theft | None = None
    logout: Logout | None = None


def measure(contenders: Sequence[Contender], environments: Mapping[str, Environment]) -> list[Row]:
    """Try all of them, which takes two minutes and the time in which they start."""
    if not contenders:
        return []
    with running(*SETTINGS) as postgres, ExitStack() as stack:
        trials = []
        for contender in contenders:
            environment = environments[contender.application]
            serving = on_trial(contender, environment, postgres, workers=1, sessions=_SESSIONS)
            trials.append(stack.enter_context(serving))
            _tell(f"{contender.name} serves")
        quick = [_quick(trial) for trial in trials]
        slow = _slow(trials)
    return [
        msgspec.structs.replace(row, **findings) for row, findings in zip(quick, slow, strict=True)
    ]


def _tell(words: str) -> None:
    print(words, file=sys.stderr)


# ── what takes no time ──────────────────────────────────────────────────────────────────────────


def _quick(trial: Trial) -> Row:
    """One contender after the other, so that each has the machine for itself."""
    contender, held = trial.contender, trial.held()
    row = Row(
        contender=contender.name,
        races=[_race(trial, each.refresh) for each in held[:RACES]]
        if "exchange" in contender.asks
        else None,
        logout=_log_out(trial, held[-1]) if {"check", "logout"} <= {*contender.asks} else None,
    )
    _tell(f"{contender.name} has raced")
    return row


def _race(trial: Trial, token: str) -> Race:
    exchange = trial.contender.asks["exchange"]
    started = Barrier(AT_ONCE)

    def present(_: int) -> Answer:
        with connected(trial.port) as connection:
            started.wait()
            return connection.ask(exchange, token)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(present, range(AT_ONCE)))
    return judge_race(answers, lambda successor: _ask(trial, "exchange", successor))


def judge_race(answers: Sequence[Answer], exchange: Exchange) -> Race:
    """What the answers to one token are worth."""
    successors = {answer.token: None for answer in answers if answer.granted}
    return Race(
        successors=len(successors),
        refused=sum(not answer.granted for answer in answers),
        lines=sum(exchange(successor).granted for successor in successors),
    )


def _ask(trial: Trial, what: str, token: str) -> Answer:
    with connected(trial.port) as connection:
        return connection.ask(trial.contender.asks[what], token)


def _log_out(trial: Trial, held: Held) -> Logout:
    asks = trial.contender.asks
    with connected(trial.port) as connection:
        if not connection.ask(asks["check"], held.access).granted:
            raise RuntimeError(f"{trial.contender.name} refuses a good access token")
        presented = held.refresh if asks["logout"].presents == "refresh" else held.access
        if not connection.ask(asks["logout"], presented).granted:
            raise RuntimeError(f"{trial.contender.name} refuses a logout")
        ended = time.monotonic()
        while (passed := time.monotonic() - ended) < _POLLED_FOR:
            if not connection.ask(asks["check"], held.access).granted:
                return Logout(1000 * passed)
            time.sleep(_POLL)
    return Logout(None)


# ── what takes minutes ──────────────────────────────────────────────────────────────────────────


def _slow(trials: Sequence[Trial]) -> list[dict[str, bool | Theft]]:
    """All contenders at once: hardly anybody asks at any time."""
    with ThreadPoolExecutor(len(trials) * len(_PLAYS)) as threads:
        until = _clock()
        playing = [_begin(trial, until, threads) for trial in trials]
        return [{name: future.result() for name, future in each.items()} for each in playing]


def _clock() -> Until:
    began = time.monotonic()
    return lambda second: time.sleep(max(0, began + second - time.monotonic()))


Play = Callable[[Exchange, Until, str], bool | Theft]


def _begin(
    trial: Trial, until: Until, threads: ThreadPoolExecutor
) -> dict[str, Future[bool | Theft]]:
    if "exchange" not in trial.contender.asks:
        return {}
    tokens = [each.refresh for each in trial.held()[RACES:]]
    return {
        name: threads.submit(play, lambda held: _ask(trial, "exchange", held), until, token)
        for (name, play), token in zip(_PLAYS.items(), tokens, strict=False)
    }


def lost(seconds: float) -> Play:
    """Whether a token is good still so many seconds after an exchange whose answer was lost."""

    def play(exchange: Exchange, until: Until, token: str) -> bool:
        exchange(token)
        until(seconds)
        return exchange(token).granted

    return play


def theft(turns: Sequence[Party]) -> Play:
    """Two who hold one token exchange it and what follows from it, in these turns."""

    def play(exchange: Exchange, until: Until, token: str) -> Theft:
        holds: dict[Party, str] = {"thief": token, "victim": token}
        for number, party in enumerate(turns):
            until(number * WAIT)
            answer = exchange(holds[party])
            holds[party] = answer.token
            if not answer.granted:
                other: Party = "victim" if party == "thief" else "thief"
                return Theft(party, number * WAIT, exchange(holds[other]).granted)
        return Theft(None, (len(turns) - 1) * WAIT, True)

    return play


_PLAYS: Final[Mapping[str, Play]] = {
    "goes_on_soon": lost(SOON),
    "goes_on_late": lost(LATE),
    "thief_first": theft(THIEF_FIRST),
    "victim_first": theft(VICTIM_FIRST),
}
_SESSIONS: Final = RACES + len(_PLAYS) + 1
