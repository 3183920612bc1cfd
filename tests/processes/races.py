"""Two deeds on two processes at nearly the same moment, again and again, and what is left after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from tests.processes.team import Encounters, Team, team
from tests.processes.worker import Answer, Pair

__all__ = ["USERNAME", "Round", "Stage", "Wrong", "expect", "race"]

USERNAME: Final = "ada"
ROUNDS: Final = 300

_HOUR: Final = 3600


class Wrong(Exception):
    """What must never happen has happened."""


class Stage:
    """The processes, one user, and the round that is being played."""

    def __init__(self, processes: Team, user_id: str, password: str) -> None:
        self.processes = processes
        self.encounters = Encounters()
        self.user_id = user_id
        self.password = password
        self.round = 0

    async def log_in(self) -> Pair:
        """A session that began before the race, of a user whom the last one may have disabled."""
        await self.processes.do("enable", self.user_id)
        return Pair(*await self.processes.do("login", USERNAME, self.password))

    async def meet(self, deed: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Answer, Answer]:
        """The answers to two deeds, each with its arguments, done by two processes at once."""
        return await self.processes.two_do(deed, other, self.encounters.lead)

    async def expect_dead(self, pair: Pair) -> None:
        """The end has been acknowledged, so no process accepts either token."""
        for answer in await self.processes.all_do("verify", pair.access):
            expect(answer.refusal == "access_token_revoked", "access token outlives the end")
        for answer in await self.processes.all_do("refresh", pair.refresh):
            expect(answer.refusal.startswith("session_revoked"), "refresh token outlives the end")

    async def expect_alive(self, pair: Pair) -> None:
        """Every process accepts both tokens."""
        answers = await self.processes.all_do("verify", pair.access)
        answers += await self.processes.all_do("refresh", pair.refresh)
        for answer in answers:
            expect(not answer.refusal, "logged out by mistake")

    async def expect_claims(self, pair: Pair, username: str) -> None:
        """No process accepts other claims, and an exchange brings these."""
        for answer in await self.processes.all_do("verify", pair.access):
            void = answer.refusal == "access_token_revoked"
            expect(void or answer.value == username, "old claims are accepted")
        for answer in await self.processes.all_do("refresh", pair.refresh):
            expect(not answer.refusal, "logged out by mistake")
            renewed = await self.processes.do("username_in", Pair(*answer.value).access)
            expect(renewed == username, "an exchange brings old claims")


Round = Callable[[Stage], Awaitable[bool]]
"""Plays one round and says whether the first of the two deeds took effect first.

Raises:
    Wrong: what must never happen has happened.
"""


async def race(folder: Path, play: Round, *, flaw: str = "") -> Encounters:
    """Play many rounds on a new file in ``folder`` and tell how often which deed was first.

    Raises:
        Wrong: what must never happen has happened.
    """
    password = "quixotic-otters"
    async with team(folder, flaw) as processes:
        user_id = await processes.do("register", USERNAME, password)
        stage = Stage(processes, user_id, password)
        for stage.round in range(ROUNDS):
            processes.now += _HOUR
            stage.encounters.saw(first=await play(stage))
        return stage.encounters


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise Wrong(otherwise)
