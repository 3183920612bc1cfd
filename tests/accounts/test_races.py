"""What becomes of a sign-in when its user is changed meanwhile, at every point where that can be.

One process acts; before or after each call that it makes of the store, another one meddles, from
start to end. Both read and write the same store, and each has learnt the cutoffs of the other when
the outcome is looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from keyturn.accounts import Accounts, InvalidCredentials
from keyturn.core.errors import AccessRefused, KeyturnError, RefreshRefused
from keyturn.core.model import Tokens
from keyturn.sessions import Sessions
from tests.accounts.support import NEW_PASSWORD, PASSWORD, AwaitPoints, Town, town
from tests.support import loaded

THIRD_PASSWORD = "amber-theodolite"

Deed = Callable[[Accounts, str], Awaitable[Any]]


async def log_in(accounts: Accounts, _: str) -> Tokens:
    return (await accounts.login("ada", PASSWORD))[1]


async def change(accounts: Accounts, user_id: str) -> Tokens:
    return (await accounts.change_password(user_id, PASSWORD, NEW_PASSWORD))[1]


async def change_otherwise(accounts: Accounts, user_id: str) -> Tokens:
    return (await accounts.change_password(user_id, PASSWORD, THIRD_PASSWORD))[1]


async def set_otherwise(accounts: Accounts, user_id: str) -> None:
    await accounts.set_password(user_id, THIRD_PASSWORD)


async def disable(accounts: Accounts, user_id: str) -> None:
    await accounts.disable(user_id)


async def disable_and_enable(accounts: Accounts, user_id: str) -> None:
    await accounts.disable(user_id)
    await accounts.enable(user_id)


class Outcome:
    """Of one race: what either process was answered, and whether that is good for anything."""

    def __init__(self, place: Town, acting: Sessions) -> None:
        self.place = place
        self._processes = (acting, place.sessions)
        self.acted: object = None
        self.meddled: object = None

    async def living(self) -> int:
        return len(await self.place.living())

    async def is_alive(self, answer: object) -> bool:
        """Whether ``answer`` is a pair that works. All processes say the same of both tokens."""
        if not isinstance(answer, Tokens):
            return False
        verdicts = set()
        for sessions in self._processes:
            await sessions.catch_up()
            verdicts |= {await exchanges(sessions, answer), checks(sessions, answer)}
        assert len(verdicts) == 1
        return verdicts.pop()

    async def signs_in(self, password: str) -> bool:
        try:
            await self.place.accounts.authenticate("ada", password)
        except InvalidCredentials:
            return False
        return True


async def exchanges(sessions: Sessions, tokens: Tokens) -> bool:
    try:
        await sessions.refresh(tokens.refresh_token)
    except RefreshRefused:
        return False
    return True


def checks(sessions: Sessions, tokens: Tokens) -> bool:
    try:
        sessions.verify(tokens.access_token)
    except AccessRefused:
        return False
    return True


async def answer_to(deed: Awaitable[object]) -> object:
    try:
        return await deed
    except KeyturnError as error:
        return error


async def races(folder: Path, act: Deed, meddle: Deed) -> AsyncIterator[Outcome]:
    """Every race of the two: one for each point of the act, and one where it is over before."""
    for number in itertools.count():
        points = AwaitPoints()
        async with (
            town("memory", folder) as place,
            loaded(points.watch(place.store), place.clock) as acting,
        ):
            place.hasher.strength = 2  # so that a sign-in has a hash to renew, too
            outcome = Outcome(place, acting)

            async def meddling(outcome: Outcome = outcome) -> None:
                outcome.meddled = await answer_to(
                    meddle(outcome.place.accounts, outcome.place.ada.id)
                )

            points.arm(number, meddling)
            accounts = place.accounts_on(points.watch(place.users), acting)
            outcome.acted = await answer_to(act(accounts, place.ada.id))
            if over_before := points.disarm():
                await meddling()
            yield outcome
            if over_before:
                assert number > 6
                return


@pytest.mark.parametrize("end", [disable, set_otherwise])
async def test_no_session_outlives_an_end_that_raced_its_sign_in(tmp_path: Path, end: Deed) -> None:
    """G6, C7: once the end is acknowledged, whatever the sign-in was answered is dead."""
    async for race in races(tmp_path, log_in, end):
        assert not await race.is_alive(race.acted)
        assert await race.living() == 0


async def test_no_old_password_outlives_a_change_that_raced_its_sign_in(tmp_path: Path) -> None:
    """C7, F5: nor does the renewal of its hash bring it back; the changer's session lives."""
    async for race in races(tmp_path, log_in, change):
        assert not await race.is_alive(race.acted)
        assert await race.is_alive(race.meddled)
        assert await race.living() == 1
        assert not await race.signs_in(PASSWORD)


async def test_a_sign_in_that_was_right_all_along_is_not_refused(tmp_path: Path) -> None:
    """A user who was disabled and enabled meanwhile is let in, or was, and signs in again."""
    async for race in races(tmp_path, log_in, disable_and_enable):
        assert isinstance(race.acted, Tokens)
        assert await race.living() == await race.is_alive(race.acted)


async def test_a_sign_in_never_spoils_a_change_that_it_raced(tmp_path: Path) -> None:
    """F8: the session that answers the change is the only one that lives."""
    async for race in races(tmp_path, change, log_in):
        assert await race.is_alive(race.acted)
        assert not await race.is_alive(race.meddled)
        assert await race.living() == 1
        assert await race.signs_in(NEW_PASSWORD)


async def test_a_change_that_was_right_all_along_is_made(tmp_path: Path) -> None:
    """F8: it is judged anew on the user as they are now, and not lost."""
    async for race in races(tmp_path, change, disable_and_enable):
        assert isinstance(race.acted, Tokens)
        assert await race.living() == await race.is_alive(race.acted)
        assert await race.signs_in(NEW_PASSWORD)


@pytest.mark.parametrize("end", [disable, set_otherwise])
async def test_no_session_outlives_an_end_that_raced_a_change(tmp_path: Path, end: Deed) -> None:
    """G6, C7: not the one that answers the change, either."""
    async for race in races(tmp_path, change, end):
        assert not await race.is_alive(race.acted)
        assert await race.living() == 0


async def test_of_two_changes_that_race_one_is_made(tmp_path: Path) -> None:
    """F8: its session lives and its password signs in; the other is told that it was too late."""
    async for race in races(tmp_path, change, change_otherwise):
        first, second = await race.is_alive(race.acted), await race.is_alive(race.meddled)
        assert first is not second
        assert await race.living() == 1
        assert await race.signs_in(NEW_PASSWORD) is first
        assert await race.signs_in(THIRD_PASSWORD) is second
        assert isinstance(race.meddled if first else race.acted, InvalidCredentials)
