"""What becomes of a sign-in, or another deed, when its user is changed meanwhile, at every point
where that can be.

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

from keyturn.accounts import (
    Accounts,
    IdentifierTaken,
    InvalidCredentials,
    ResetTokenInvalid,
    User,
    UserUnknown,
)
from keyturn.core.errors import AccessRefused, KeyturnError, RefreshRefused
from keyturn.core.model import Tokens
from keyturn.sessions import Sessions
from tests.accounts.support import NEW_PASSWORD, PASSWORD, AwaitPoints, Town, town
from tests.support import loaded

THIRD_PASSWORD = "amber-theodolite"

EMAIL = "countess@example.com"

Deed = Callable[[Accounts, "Outcome"], Awaitable[Any]]


async def log_in(accounts: Accounts, _: Outcome) -> Tokens:
    return (await accounts.login("ada", PASSWORD))[1]


async def change(accounts: Accounts, race: Outcome) -> Tokens:
    return (await accounts.change_password(race.user_id, PASSWORD, NEW_PASSWORD))[1]


async def change_otherwise(accounts: Accounts, race: Outcome) -> Tokens:
    return (await accounts.change_password(race.user_id, PASSWORD, THIRD_PASSWORD))[1]


async def set_otherwise(accounts: Accounts, race: Outcome) -> None:
    await accounts.set_password(race.user_id, THIRD_PASSWORD)


async def disable(accounts: Accounts, race: Outcome) -> None:
    await accounts.disable(race.user_id)


async def disable_and_enable(accounts: Accounts, race: Outcome) -> None:
    await accounts.disable(race.user_id)
    await accounts.enable(race.user_id)


async def delete(accounts: Accounts, race: Outcome) -> None:
    await accounts.delete(race.user_id)


async def delete_own(accounts: Accounts, race: Outcome) -> None:
    await accounts.delete_own(race.user_id, PASSWORD)


async def reset(accounts: Accounts, race: Outcome) -> User:
    return await accounts.reset_password(race.reset_token, NEW_PASSWORD)


async def reset_otherwise(accounts: Accounts, race: Outcome) -> User:
    return await accounts.reset_password(race.reset_token, THIRD_PASSWORD)


async def make_another_token(accounts: Accounts, race: Outcome) -> str:
    return await accounts.make_reset_token(race.user_id)


async def change_email(accounts: Accounts, race: Outcome) -> User:
    return await accounts.change_profile(race.user_id, email=EMAIL, current=PASSWORD)


async def change_fullname(accounts: Accounts, race: Outcome) -> User:
    return await accounts.change_profile(race.user_id, fullname="Countess")


async def register_email(accounts: Accounts, _: Outcome) -> User:
    return await accounts.register("grace", EMAIL, "Grace", PASSWORD)


class Outcome:
    """Of one race: what either process was answered, and whether that is good for anything."""

    def __init__(self, place: Town, acting: Sessions) -> None:
        self.place = place
        self._processes = (acting, place.sessions)
        self.user_id = place.ada.id
        self.reset_token = ""
        self.acted: object = None
        self.meddled: object = None

    async def emails(self) -> list[str]:
        return [user.email for user in await self.place.accounts.list_users()]

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
            outcome.reset_token = await place.accounts.make_reset_token(place.ada.id)

            async def meddling(outcome: Outcome = outcome) -> None:
                outcome.meddled = await answer_to(meddle(outcome.place.accounts, outcome))

            points.arm(number, meddling)
            accounts = place.accounts_on(points.watch(place.users), acting)
            outcome.acted = await answer_to(act(accounts, outcome))
            if over_before := points.disarm():
                await meddling()
            yield outcome
            if over_before:
                assert number >= 4
                return


ENDS = [disable, set_otherwise, delete, reset_otherwise]


@pytest.mark.parametrize("end", ENDS)
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


@pytest.mark.parametrize("end", ENDS[:-1])  # a change makes the reset too late
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


@pytest.mark.parametrize("end", ENDS)
async def test_no_session_outlives_an_end_that_raced_its_exchange(
    tmp_path: Path, end: Deed
) -> None:
    """G6, C7: whatever the exchange was answered is dead once the end is acknowledged."""
    async for race in races(tmp_path, exchange, end):
        assert not await race.is_alive(race.acted)
        assert await race.living() == 0


async def exchange(accounts: Accounts, _: Outcome) -> Tokens:
    tokens = await log_in(accounts, _)
    return await accounts._sessions.refresh(tokens.refresh_token)


async def test_of_two_resets_that_race_one_is_made(tmp_path: Path) -> None:
    """C4: its password signs in; the other is told that the token is no good."""
    async for race in races(tmp_path, reset, reset_otherwise):
        first, second = isinstance(race.acted, User), isinstance(race.meddled, User)
        assert first is not second
        assert await race.signs_in(NEW_PASSWORD) is first
        assert await race.signs_in(THIRD_PASSWORD) is second
        assert isinstance(race.meddled if first else race.acted, ResetTokenInvalid)


async def test_of_a_reset_and_a_change_that_race_one_is_made(tmp_path: Path) -> None:
    """C7: a change makes the token worthless; a reset makes the current password a wrong one."""
    async for race in races(tmp_path, reset, change_otherwise):
        was_reset = isinstance(race.acted, User)
        assert isinstance(race.meddled if was_reset else race.acted, KeyturnError)
        assert await race.signs_in(NEW_PASSWORD) is was_reset
        assert await race.signs_in(THIRD_PASSWORD) is not was_reset
        assert await race.is_alive(race.meddled) is not was_reset


async def test_of_a_change_and_a_reset_that_race_the_old_password_never_comes_back(
    tmp_path: Path,
) -> None:
    """C7: where the reset was made, no session of before lives, nor the one of the change."""
    async for race in races(tmp_path, change, reset_otherwise):
        was_reset = isinstance(race.meddled, User)
        assert await race.signs_in(THIRD_PASSWORD) is was_reset
        assert await race.signs_in(NEW_PASSWORD) is not was_reset
        assert await race.is_alive(race.acted) is not was_reset
        assert not await race.signs_in(PASSWORD)


@pytest.mark.parametrize("end", [disable, delete])
async def test_no_password_is_reset_of_a_user_who_was_kept_out(tmp_path: Path, end: Deed) -> None:
    """G6: a reset was made before, or is not made at all; and there is no session."""
    async for race in races(tmp_path, reset, end):
        assert isinstance(race.acted, User | ResetTokenInvalid)
        assert not isinstance(race.meddled, KeyturnError)
        assert await race.living() == 0
        assert not await race.signs_in(NEW_PASSWORD)


async def test_of_a_reset_and_another_email_that_race_one_is_made(tmp_path: Path) -> None:
    """G7: either makes the other too late: the token is worthless, or the password a wrong one."""
    async for race in races(tmp_path, reset, change_email):
        was_reset = isinstance(race.acted, User)
        assert isinstance(race.meddled, InvalidCredentials) is was_reset
        assert await race.signs_in(NEW_PASSWORD) is was_reset
        assert await race.emails() == ["ada@example.com" if was_reset else EMAIL]


async def test_a_token_that_was_replaced_meanwhile_resets_nothing(tmp_path: Path) -> None:
    """The later one is good in any case: it was not yet there when the earlier one was used."""
    async for race in races(tmp_path, reset, make_another_token):
        was_reset = isinstance(race.acted, User)
        assert was_reset or isinstance(race.acted, ResetTokenInvalid)
        assert await race.signs_in(NEW_PASSWORD) is was_reset
        race.reset_token = str(race.meddled)
        assert isinstance(await reset_otherwise(race.place.accounts, race), User)


@pytest.mark.parametrize("meddle", [change_email, disable_and_enable, set_otherwise, log_in])
async def test_a_change_of_names_that_was_right_all_along_is_made(
    tmp_path: Path, meddle: Deed
) -> None:
    """Whatever else happened to the user meanwhile, which stands as well."""
    async for race in races(tmp_path, change_fullname, meddle):
        [user] = await race.place.accounts.list_users()
        assert isinstance(race.acted, User)
        assert user.fullname == "Countess"
        assert user.email == (EMAIL if meddle is change_email else "ada@example.com")


async def test_a_user_who_is_gone_is_not_changed(tmp_path: Path) -> None:
    """Nor brought back."""
    async for race in races(tmp_path, change_fullname, delete):
        assert isinstance(race.acted, User | UserUnknown)
        assert await race.emails() == []


async def test_no_session_tells_old_names_that_raced_its_sign_in(tmp_path: Path) -> None:
    """What the sign-in was answered says the new ones, or its access token is void."""
    async for race in races(tmp_path, log_in, change_fullname):
        assert isinstance(race.acted, Tokens)
        told = race.acted.session.claims.fullname
        assert checks(race.place.sessions, race.acted) is (told == "Countess")
        renewed = await race.place.sessions.refresh(race.acted.refresh_token)
        assert renewed.session.claims.fullname == "Countess"


async def test_an_email_is_had_once_whoever_takes_it_first(tmp_path: Path) -> None:
    """The other is told that it is taken."""
    async for race in races(tmp_path, change_email, register_email):
        first = isinstance(race.acted, User)
        assert isinstance(race.meddled if first else race.acted, IdentifierTaken)
        assert (await race.emails()).count(EMAIL) == 1


async def test_who_deletes_themselves_with_an_old_password_is_not_deleted(tmp_path: Path) -> None:
    """G7: a thief who knew it could not do so before it was changed and be done after."""
    async for race in races(tmp_path, delete_own, change):
        was_deleted = not isinstance(race.acted, InvalidCredentials)
        assert isinstance(race.meddled, Tokens) is not was_deleted
        assert await race.signs_in(NEW_PASSWORD) is not was_deleted
        assert await race.emails() == ([] if was_deleted else ["ada@example.com"])
