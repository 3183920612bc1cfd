"""What can be changed of a user besides the password: names, all of them at once, and the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from keyturn.accounts import Accounts, InvalidCredentials, InvalidField, TooManyAttempts
from keyturn.core.errors import AccessTokenRevoked, ClaimsRefused
from keyturn.core.model import Device, EndReason, EventKind
from tests.accounts.support import (
    ADDRESS,
    LAPTOP,
    NEW_PASSWORD,
    PASSWORD,
    WRONG,
    Town,
    is_over,
    outcomes,
    refusal,
)
from tests.support import START, loaded

EMAIL = "countess@example.com"


# ── names ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_changes_email_and_full_name(place: Town) -> None:
    """G7: with the current password; both are kept as they were given."""
    user = await place.accounts.change_profile(
        place.ada.id, email="Countess@Example.com", fullname="Ada, Countess", current=PASSWORD
    )

    assert user == replace(place.ada, email="Countess@Example.com", fullname="Ada, Countess")
    assert await place.accounts.get_user(place.ada.id) == user
    assert await place.accounts.authenticate(EMAIL, PASSWORD) == user
    assert await outcomes(place.accounts.find_user("ada@example.com")) == ["user_unknown"]


async def test_a_full_name_needs_no_password(place: Town) -> None:
    """It signs nobody in."""
    user = await place.accounts.change_profile(place.ada.id, fullname="Ada, Countess")

    assert user == replace(place.ada, fullname="Ada, Countess")


async def test_living_sessions_tell_the_new_names_at_once(place: Town) -> None:
    """Access tokens with the old ones are void; the next exchange brings the new ones."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    await place.accounts.change_profile(place.ada.id, email=EMAIL, current=PASSWORD)

    with pytest.raises(AccessTokenRevoked):
        place.sessions.verify(tokens.access_token)
    renewed = await place.sessions.refresh(tokens.refresh_token)
    assert place.sessions.verify(renewed.access_token).claims.email == EMAIL
    assert renewed.session.sid == tokens.session.sid


async def test_new_names_are_learnt_by_other_processes(place: Town) -> None:
    """With the cutoffs that they follow."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    async with loaded(place.store, place.clock) as other:
        other.verify(tokens.access_token)
        await place.accounts.set_profile(place.ada.id, username="countess")
        await other.catch_up()

        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_a_change_of_nothing_voids_nothing(place: Town) -> None:
    """As when a form is sent as it was."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    same = {"email": place.ada.email, "fullname": place.ada.fullname}
    await place.accounts.change_profile(place.ada.id, **same, current=PASSWORD)
    await place.accounts.set_profile(place.ada.id, **same, username=place.ada.username)
    await place.accounts.set_profile(place.ada.id)

    assert place.sessions.verify(tokens.access_token).user_id == place.ada.id
    assert all(
        event.kind is not EventKind.CLAIMS_CHANGED
        for event in await place.store.events(user_id=place.ada.id, limit=9)
    )


@pytest.mark.parametrize("current", ["", WRONG])
async def test_another_email_needs_the_current_password(place: Town, current: str) -> None:
    """G7: without it nothing happens, neither to a name that was given beside it."""
    refused = await refusal(
        place.accounts.change_profile(place.ada.id, email=EMAIL, fullname="X", current=current)
    )

    assert type(refused) is InvalidCredentials
    assert await place.accounts.get_user(place.ada.id) == place.ada


async def test_guesses_beside_an_email_are_slowed_down_as_at_a_change_of_password(
    place: Town,
) -> None:
    """F6, G7: on one count with those, and apart from sign-ins."""
    for n in range(5):
        await refusal(
            place.accounts.change_profile(place.ada.id, email=EMAIL, current=WRONG)
            if n % 2
            else place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD)
        )

    refused = await refusal(
        place.accounts.change_profile(place.ada.id, email=EMAIL, current=PASSWORD)
    )

    assert isinstance(refused, TooManyAttempts)
    assert await outcomes(place.accounts.login("ada", PASSWORD)) == ["done"]


async def test_an_email_of_somebody_else_is_refused(place: Town) -> None:
    """As at registration; both users stay as they were."""
    grace = await place.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    taken = {"email": "GRACE@example.com"}

    assert (
        await outcomes(
            place.accounts.change_profile(place.ada.id, **taken, current=PASSWORD),
            place.accounts.set_profile(place.ada.id, **taken),
            place.accounts.set_profile(place.ada.id, username="Grace"),
        )
        == ["identifier_taken"] * 3
    )
    assert await place.accounts.list_users() == [place.ada, grace]


async def test_emails_that_probe_for_names_are_slowed_down(place: Town) -> None:
    """F7: each change counts on its network as a registration does, whatever its outcome."""
    await place.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    probe = {"email": "grace@example.com", "current": PASSWORD}

    told = await outcomes(
        *(place.accounts.change_profile(place.ada.id, **probe, address=ADDRESS) for _ in range(50))
    )

    assert told == ["identifier_taken"] * 50
    assert await outcomes(
        place.accounts.change_profile(place.ada.id, **probe, address=ADDRESS),
        place.accounts.change_profile(place.ada.id, **probe, address="192.0.2.2"),
    ) == ["too_many_attempts", "identifier_taken"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("username", "a@b"), ("email", "nowhere"), ("fullname", "Some\nbody"), ("fullname", "")],
)
async def test_a_name_that_cannot_be_taken_is_named(place: Town, field: str, value: str) -> None:
    """And nothing is changed."""
    with pytest.raises(InvalidField) as refused:
        await place.accounts.set_profile(place.ada.id, **{field: value})

    assert refused.value.field == field
    assert await place.accounts.get_user(place.ada.id) == place.ada


async def test_names_that_no_token_can_carry_are_refused(memory: Town) -> None:
    """Else the user could never sign in again; told to the user by the field they gave."""
    grace = await memory.accounts.register(
        "grace", "grace@example.com", "Grace", PASSWORD, permissions=["compile" * 270]
    )
    long = "🚀" * 128

    with pytest.raises(InvalidField) as refused:
        await memory.accounts.change_profile(grace.id, fullname=long)
    with pytest.raises(ClaimsRefused):
        await memory.accounts.set_profile(grace.id, fullname=long)

    assert (refused.value.field, await memory.accounts.get_user(grace.id)) == ("fullname", grace)


async def test_an_administrator_renames_a_user(place: Town) -> None:
    """Also one who is disabled, and who stays so."""
    await place.accounts.disable(place.ada.id)

    user = await place.accounts.set_profile(place.ada.id, username="countess", email=EMAIL)

    assert user == replace(place.ada, username="countess", email=EMAIL, disabled_at=START)
    assert await place.accounts.find_user("countess") == user


async def test_where_tokens_have_no_profile_they_get_none(memory: Town) -> None:
    """D11: neither by a new name."""
    accounts = memory.accounts_on(memory.users, memory.sessions, profile_in_token=False)
    _, tokens = await accounts.login("ada", PASSWORD)

    await accounts.set_profile(memory.ada.id, fullname="Countess")

    renewed = await memory.sessions.refresh(tokens.refresh_token)
    assert memory.sessions.verify(renewed.access_token).claims.fullname == ""


# ── delete ──────────────────────────────────────────────────────────────────────────────────────

Deletion = Callable[[Accounts, str], Awaitable[object]]


def delete(accounts: Accounts, user_id: str) -> Awaitable[object]:
    return accounts.delete(user_id)


def delete_own(accounts: Accounts, user_id: str) -> Awaitable[object]:
    return accounts.delete_own(user_id, PASSWORD)


either_way = pytest.mark.parametrize("deed", [delete, delete_own])


@either_way
async def test_deleting_ends_every_session_at_once(place: Town, deed: Deletion) -> None:
    """G6, C7: in this process with the very call; and the user is gone."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    await deed(place.accounts, place.ada.id)

    assert await is_over(place, tokens, EndReason.USER_DELETED)
    assert await place.accounts.list_users() == []
    assert await outcomes(
        place.accounts.get_user(place.ada.id), place.accounts.login("ada", PASSWORD)
    ) == ["user_unknown", "invalid_credentials"]


@either_way
async def test_a_deletion_is_learnt_by_other_processes(place: Town, deed: Deletion) -> None:
    """G6: with the cutoffs that they follow."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    async with loaded(place.store, place.clock) as other:
        other.verify(tokens.access_token)
        await deed(place.accounts, place.ada.id)
        await other.catch_up()

        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_the_names_of_a_deleted_user_are_free_and_the_id_is_not(place: Town) -> None:
    """G8: whoever takes the names gets another id, and the epoch of the old one stays."""
    await place.accounts.delete(place.ada.id)

    again = await place.accounts.register("Ada", "ada@example.com", "Another Ada", PASSWORD)

    assert again.id != place.ada.id
    assert await place.sessions.user_epoch(place.ada.id) > 0
    assert await place.sessions.list(again.id) == []


async def test_deleting_oneself_needs_the_current_password(place: Town) -> None:
    """G7: a wrong one does nothing, and guesses are slowed down."""
    for _ in range(5):
        refused = await refusal(place.accounts.delete_own(place.ada.id, WRONG))
        assert type(refused) is InvalidCredentials

    assert await outcomes(
        place.accounts.delete_own(place.ada.id, PASSWORD), place.accounts.login("ada", PASSWORD)
    ) == ["too_many_attempts", "done"]


# ── unlock ──────────────────────────────────────────────────────────────────────────────────────


async def fail(place: Town, *, times: int) -> None:
    for _ in range(times):
        await refusal(place.accounts.login("ada", WRONG, device=LAPTOP))
        await refusal(place.accounts.login("ada@example.com", WRONG, device=LAPTOP))
        await refusal(place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD))


async def test_unlocking_lets_the_owner_try_again_at_once(place: Town) -> None:
    """F6: by username, by email, and at the current password."""
    await fail(place, times=5)
    assert await place.accounts.blocked_until(place.ada.id) == START + 1

    await place.accounts.unlock(place.ada.id)

    assert await place.accounts.blocked_until(place.ada.id) is None
    assert (
        await outcomes(
            place.accounts.login("ada", PASSWORD),
            place.accounts.login("ada@example.com", PASSWORD),
            place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD),
        )
        == ["done"] * 3
    )


async def test_unlocking_begins_the_count_anew(place: Town) -> None:
    """F6: the next failure is the first."""
    await fail(place, times=5)
    await place.accounts.unlock(place.ada.id)

    await fail(place, times=4)

    assert await place.accounts.blocked_until(place.ada.id) is None


async def test_unlocking_a_user_forgives_no_network(place: Town) -> None:
    """F6: those who guess at all names from one address are slowed down still."""
    for n in range(50):
        await refusal(place.accounts.login(f"name {n}", WRONG, device=LAPTOP))

    await place.accounts.unlock(place.ada.id)

    assert await outcomes(
        place.accounts.login("ada", PASSWORD, device=LAPTOP),
        place.accounts.login("ada", PASSWORD, device=Device(address="192.0.2.2")),
    ) == ["too_many_attempts", "done"]


@pytest.mark.parametrize("how", ["ada", "ada@example.com"])
async def test_a_block_on_any_name_is_told(place: Town, how: str) -> None:
    """The longest of them."""
    for _ in range(5):
        await refusal(place.accounts.login(how, WRONG))

    assert await place.accounts.blocked_until(place.ada.id) == START + 1


# ── all of them ─────────────────────────────────────────────────────────────────────────────────


async def test_who_is_unknown_is_told_to_be(place: Town) -> None:
    """Nothing is done, and nobody is made."""
    unknown: Any = "AAAAAAAAAAAAAAAAAAAAAA"

    assert (
        await outcomes(
            place.accounts.change_profile(unknown, fullname="X"),
            place.accounts.set_profile(unknown, fullname="X"),
            place.accounts.delete(unknown),
            place.accounts.delete_own(unknown, PASSWORD),
            place.accounts.unlock(unknown),
            place.accounts.blocked_until(unknown),
        )
        == ["user_unknown"] * 6
    )
    assert await place.accounts.list_users() == [place.ada]


async def test_a_disabled_user_changes_nothing(place: Town) -> None:
    """G6: whatever they still hold."""
    await place.accounts.disable(place.ada.id)

    assert (
        await outcomes(
            place.accounts.change_profile(place.ada.id, email=EMAIL, current=PASSWORD),
            place.accounts.delete_own(place.ada.id, PASSWORD),
        )
        == ["invalid_credentials"] * 2
    )
