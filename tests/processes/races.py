"""Two deeds on two processes at nearly the same moment, again and again, and what is left after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from tests.processes.team import Deed, Encounters, Team, team
from tests.processes.worker import Answer, Pair
from tests.support import START

__all__ = ["Round", "Stage", "Wrong", "expect", "race"]

_STAGES: Final = 5
_PAUSE: Final = 36_000  # seconds from one round to the next


class Wrong(Exception):
    """What must never happen has happened."""


class Stage:
    """Where one round after the other is played by a user of its own. There are several, with the
    same processes, which are kept busy so; and with the same time, but for what a round adds to it.
    """

    def __init__(self, processes: Team, encounters: Encounters, username: str) -> None:
        self.username = username
        self.password = "quixotic-otters"
        self.user_id = ""
        self.now = START
        self.round = 0
        self._processes = processes
        self._encounters = encounters

    async def settle_down(self) -> None:
        self.user_id = await self.do("register", self.username, self.password)

    async def play(self, play: Round, number: int) -> bool:
        self.round = number
        self.now = START + _PAUSE * number
        return await play(self)

    async def do(self, *deed: Any) -> Any:
        """Have a process do what cannot be refused."""
        return await self._processes.do(deed, self.now)

    async def all_do(self, *deed: Any) -> list[Answer]:
        """What each process answers."""
        return await self._processes.all_do(deed, self.now)

    async def sign_in(self) -> Pair:
        """A session that began before the race."""
        return Pair(*await self.do("create", self.user_id, self.username))

    async def meet(self, deed: Deed, other: Deed) -> tuple[Answer, Answer]:
        """The answers to two deeds, done by two processes at once."""
        return await self._processes.two_do(deed, other, self.now, self._encounters.lead)

    async def expect_fates(self, *, dead: Sequence[Pair], alive: Sequence[Pair] = ()) -> None:
        """No process accepts a token of the dead, whose end has been acknowledged; every process
        accepts those of the living.
        """
        fates = await self._try_out(*dead, *alive)
        for checks, exchanges in fates[: len(dead)]:
            for answer in checks:
                expect(answer.refusal == "access_token_revoked", "access token outlives the end")
            for answer in exchanges:
                over = answer.refusal.startswith("session_revoked")
                expect(over, "refresh token outlives the end")
        for checks, exchanges in fates[len(dead) :]:
            for answer in checks + exchanges:
                expect(not answer.refusal, "logged out by mistake")

    async def expect_claims(self, username: str, *pairs: Pair) -> None:
        """No process accepts other claims, and an exchange brings these."""
        for checks, exchanges in await self._try_out(*pairs):
            for answer in checks:
                void = answer.refusal == "access_token_revoked"
                expect(void or answer.value == username, "old claims are accepted")
            for answer in exchanges:
                expect(not answer.refusal, "logged out by mistake")
                expect(Pair(*answer.value).username == username, "an exchange brings old claims")

    async def _try_out(self, *pairs: Pair) -> list[tuple[list[Answer], list[Answer]]]:
        """Of each pair, what all processes answer to the access token, and to the refresh token."""
        answers = await self.all_do("try_out", *pairs)
        tried = [msgspec.convert(answer.value, list[tuple[Answer, Answer]]) for answer in answers]
        return [
            ([check for check, _ in outcomes], [exchange for _, exchange in outcomes])
            for outcomes in zip(*tried, strict=True)
        ]


Round = Callable[[Stage], Awaitable[bool]]
"""Plays one round and says whether the first of the two deeds took effect first.

Raises:
    Wrong: what must never happen has happened.
"""


async def race(url: str, play: Round, *, rounds: int, flaw: str = "") -> Encounters:
    """Play many rounds on the new store at ``url`` and tell how often which deed was first.

    Raises:
        Wrong: what must never happen has happened.
    """
    encounters = Encounters()
    async with team(url, flaw) as processes:
        stages = [Stage(processes, encounters, f"ada-{number}") for number in range(_STAGES)]
        await asyncio.gather(*(stage.settle_down() for stage in stages))
        for number in range(1, rounds // _STAGES + 1):
            playing = (stage.play(play, number) for stage in stages)
            for outcome in await asyncio.gather(*playing, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
                encounters.saw(first=outcome)
    return encounters


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise Wrong(otherwise)
