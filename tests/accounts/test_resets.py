"""Tokens that set another password, for whoever has forgotten theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from keyturn.accounts import Accounts, ResetTokenInvalid, TooManyAttempts
from keyturn.core import base64url
from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import Device, EndReason, EventKind
from tests.accounts.support import (
    LAPTOP,
    NEW_PASSWORD,
    PASSWORD,
    WRONG,
    Town,
    is_over,
    outcomes,
    refusal,
)

HOUR = 3600


async def test_a_reset_sets_another_password_and_ends_every_session(place: Town) -> None:
    """C7: whoever has the token says what the password is from now on."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    token = await place.accounts.make_reset_token(place.ada.id)

    user = await place.accounts.reset_password(token, NEW_PASSWORD, device=LAPTOP)

    assert user == place.ada
    assert await is_over(place, tokens, EndReason.PASSWORD_CHANGED)
    assert await place.living() == []
    assert await outcomes(
        place.accounts.authenticate("ada", PASSWORD),
        place.accounts.authenticate("ada", NEW_PASSWORD),
    ) == ["invalid_credentials", "done"]


async def test_a_reset_is_told_in_the_events(place: Town) -> None:
    """F8: as any new password, with the device it came from."""
    token = await place.accounts.make_reset_token(place.ada.id)

    await place.accounts.reset_password(token, NEW_PASSWORD, device=LAPTOP)

    [event] = await place.store.events(user_id=place.ada.id, limit=9)
    assert (event.kind, event.device) == (EventKind.PASSWORD_CHANGED, LAPTOP)


async def test_a_token_is_256_random_bits_and_the_store_has_none(place: Town) -> None:
    """C1, C2: whoever reads the database resets nothing."""
    tokens = {await place.accounts.make_reset_token(place.ada.id) for _ in range(20)}

    assert len(tokens) == 20
    assert {len(base64url.decode(token)) for token in tokens} == {32}
    for token in tokens:
        for written in (token.encode(), base64url.decode(token)):
            assert await place.users.find_by_reset(written, place.sessions.now()) is None


async def test_a_token_is_good_once(place: Town) -> None:
    """F10: not even for the same password again."""
    token = await place.accounts.make_reset_token(place.ada.id)
    await place.accounts.reset_password(token, NEW_PASSWORD)

    assert await outcomes(place.accounts.reset_password(token, NEW_PASSWORD)) == [
        "reset_token_invalid"
    ]


@pytest.mark.parametrize(("age", "outcome"), [(HOUR - 1, "done"), (HOUR, "reset_token_invalid")])
async def test_a_token_is_good_for_an_hour(place: Town, age: int, outcome: str) -> None:
    """F10: unless another time was asked for."""
    token = await place.accounts.make_reset_token(place.ada.id)
    place.clock.sleep(age)

    assert await outcomes(place.accounts.reset_password(token, NEW_PASSWORD)) == [outcome]


async def test_a_token_may_be_good_for_less(place: Town) -> None:
    """F10: for as long as was asked for."""
    token = await place.accounts.make_reset_token(place.ada.id, lifetime=60)
    place.clock.sleep(60)

    assert await outcomes(place.accounts.reset_password(token, NEW_PASSWORD)) == [
        "reset_token_invalid"
    ]


Deed = Callable[[Accounts, str], Awaitable[object]]


async def disable_and_enable(accounts: Accounts, user_id: str) -> None:
    await accounts.disable(user_id)
    await accounts.enable(user_id)


@pytest.mark.parametrize(
    "deed",
    [
        lambda accounts, user_id: accounts.make_reset_token(user_id),
        lambda accounts, user_id: accounts.set_password(user_id, "amber-theodolite"),
        lambda accounts, user_id: accounts.change_password(user_id, PASSWORD, "amber-theodolite"),
        lambda accounts, user_id: accounts.set_profile(user_id, email="countess@example.com"),
        lambda accounts, user_id: accounts.change_profile(
            user_id, email="countess@example.com", current=PASSWORD
        ),
        lambda accounts, user_id: accounts.delete(user_id),
        disable_and_enable,
    ],
    ids=["new token", "set", "change", "set email", "change email", "delete", "disable"],
)
async def test_what_makes_a_token_worthless(place: Town, deed: Deed) -> None:
    """C7: a later token, another password, another email, and an end of the user."""
    token = await place.accounts.make_reset_token(place.ada.id)
    await deed(place.accounts, place.ada.id)

    refused = await refusal(place.accounts.reset_password(token, NEW_PASSWORD))

    assert isinstance(refused, ResetTokenInvalid)


async def test_a_token_outlasts_what_does_not_concern_it(place: Town) -> None:
    """A sign-in, another name, and another user's token and password."""
    await place.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    grace = await place.accounts.find_user("grace")
    token = await place.accounts.make_reset_token(place.ada.id)
    await place.accounts.login("ada", PASSWORD)
    await place.accounts.set_profile(place.ada.id, username="countess", fullname="Countess")
    await place.accounts.make_reset_token(grace.id)
    await place.accounts.set_password(grace.id, "amber-theodolite")

    assert await outcomes(place.accounts.reset_password(token, NEW_PASSWORD)) == ["done"]


async def test_unknown_used_and_over_are_one_refusal(place: Town) -> None:
    """F7: the same error, and nothing in it tells them apart."""
    over = await place.accounts.make_reset_token(place.ada.id, lifetime=1)
    place.clock.sleep(1)
    refusals = [await refusal(place.accounts.reset_password(over, NEW_PASSWORD))]
    used = await place.accounts.make_reset_token(place.ada.id)
    await place.accounts.reset_password(used, NEW_PASSWORD)

    refusals += [
        await refusal(place.accounts.reset_password(token, NEW_PASSWORD))
        for token in (used, "A" * 43, "", "\ud800", "x" * 99_999)
    ]

    assert {type(refused) for refused in refusals} == {ResetTokenInvalid}
    assert {str(refused) for refused in refusals} == {"Invalid or expired reset token"}
    assert all(vars(refused) == {} for refused in refusals)


async def test_a_password_that_will_not_do_leaves_the_token_good(place: Town) -> None:
    """F3: the rules hold for a reset too; and the user tries another one."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    token = await place.accounts.make_reset_token(place.ada.id)

    refused = [
        await outcomes(place.accounts.reset_password(token, poor))
        for poor in ("short", "password", "ada-lovelace-1", "x" * 1025)
    ]

    assert refused == [["password_refused"]] * 4
    assert place.sessions.verify(tokens.access_token).user_id == place.ada.id
    assert await outcomes(place.accounts.reset_password(token, NEW_PASSWORD)) == ["done"]


async def test_a_token_that_is_not_good_hashes_nothing(place: Town) -> None:
    """F9: whoever has none makes no work."""
    for _ in range(9):
        await refusal(place.accounts.reset_password("A" * 43, NEW_PASSWORD))

    assert place.hasher.checked == []


async def test_tokens_that_are_not_good_slow_down_the_network(place: Town) -> None:
    """F6: from the fiftieth on; from elsewhere a good one is taken."""
    token = await place.accounts.make_reset_token(place.ada.id)
    for _ in range(50):
        await refusal(place.accounts.reset_password("A" * 43, NEW_PASSWORD, device=LAPTOP))

    blocked = await refusal(place.accounts.reset_password(token, NEW_PASSWORD, device=LAPTOP))

    assert isinstance(blocked, TooManyAttempts)
    elsewhere = Device(address="192.0.2.2")
    done = await outcomes(place.accounts.reset_password(token, NEW_PASSWORD, device=elsewhere))
    assert done == ["done"]


async def test_after_a_reset_the_user_can_sign_in(place: Town) -> None:
    """F6: failures before it, of either name and at the current password, are forgotten."""
    for _ in range(5):
        await refusal(place.accounts.login("ada", WRONG))
        await refusal(place.accounts.login("ada@example.com", WRONG))
        await refusal(place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD))
    token = await place.accounts.make_reset_token(place.ada.id)

    await place.accounts.reset_password(token, NEW_PASSWORD)

    assert (
        await outcomes(
            place.accounts.login("ada", NEW_PASSWORD),
            place.accounts.login("ada@example.com", NEW_PASSWORD),
            place.accounts.change_password(place.ada.id, NEW_PASSWORD, "amber-theodolite"),
        )
        == ["done"] * 3
    )


async def test_of_many_uses_of_one_token_one_counts(place: Town) -> None:
    """C4: its password is the one; the others are told that the token is no good."""
    token = await place.accounts.make_reset_token(place.ada.id)
    passwords = [f"{NEW_PASSWORD} {n}" for n in range(10)]

    told = await outcomes(*(place.accounts.reset_password(token, new) for new in passwords))

    assert sorted(told) == ["done"] + ["reset_token_invalid"] * 9
    assert await place.accounts.authenticate("ada", passwords[told.index("done")]) == place.ada


async def test_for_whom_there_is_no_token_is_told(place: Town) -> None:
    """To administrators: nobody of that id, or somebody who may not sign in."""
    await place.accounts.disable(place.ada.id)

    assert await outcomes(
        place.accounts.make_reset_token("AAAAAAAAAAAAAAAAAAAAAA"),
        place.accounts.make_reset_token(place.ada.id),
    ) == ["user_unknown", "user_disabled"]


async def test_a_reset_that_was_done_is_not_called_a_failure(
    memory: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: also where the store fails right behind it; the token would be refused from then on."""

    async def fail(_: object) -> None:
        raise StoreUnavailable

    token = await memory.accounts.make_reset_token(memory.ada.id)
    monkeypatch.setattr(memory.users, "clear", fail)

    assert await memory.accounts.reset_password(token, NEW_PASSWORD) == memory.ada


async def test_resets_that_are_over_are_swept(place: Town) -> None:
    """What is good for nothing takes no room."""
    await place.accounts.make_reset_token(place.ada.id)

    assert await place.accounts.sweep() == 0
    place.clock.sleep(HOUR)
    assert await place.accounts.sweep() == 1
