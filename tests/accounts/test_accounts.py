"""Users: how they register, sign in, change their passwords, and are kept out."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable
from typing import cast

import pytest

from keyturn.accounts import (
    Accounts,
    InvalidCredentials,
    InvalidField,
    PasswordHashing,
    PasswordRefused,
    PasswordRules,
    TooManyAttempts,
    UserStore,
)
from keyturn.accounts.model import Account
from keyturn.core.errors import (
    AccessTokenRevoked,
    ClaimsRefused,
    Remedy,
    SignInRaced,
    Unavailable,
)
from keyturn.core.model import Claims, Device, EndReason, Event, EventKind
from keyturn.core.refresh_token import is_sid
from keyturn.stores import Store
from tests.accounts.support import (
    ADDRESS,
    LAPTOP,
    NEW_PASSWORD,
    PASSWORD,
    WRONG,
    InstantHasher,
    Town,
    is_over,
    outcomes,
    refusal,
)
from tests.support import START, Meddling, loaded

# ── register ────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_is_as_they_registered(place: Town) -> None:
    """Names are kept as they were given."""
    user = await place.accounts.register("Zoë", "Zoe@Example.com", "Zoë Z.", PASSWORD)

    assert (user.username, user.email, user.fullname) == ("Zoë", "Zoe@Example.com", "Zoë Z.")
    assert (user.created_at, user.disabled_at, user.permissions) == (START, None, ())
    assert await place.accounts.get_user(user.id) == user
    assert await place.accounts.find_user("ZOË") == user
    assert await place.accounts.find_user("zoe@example.com") == user


async def test_ids_are_random_and_never_given_again(memory: Town) -> None:
    """G8: 128 random bits each, so that no user is ever taken for an earlier one."""
    users = [
        await memory.accounts.register(f"user{n}", f"{n}@example.com", "Somebody", PASSWORD)
        for n in range(20)
    ]

    assert len({user.id for user in users}) == 20
    assert all(is_sid(user.id) for user in users)


async def test_no_id_is_taken_for_an_option(memory: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given to commands as it is."""
    drawn = iter([b"\xf8" * 16, b"\xfb" * 16, b"\x00" * 16])
    monkeypatch.setattr(secrets, "token_bytes", lambda _: next(drawn))

    user = await memory.accounts.register("grace", "g@example.com", "Grace", PASSWORD)

    assert user.id == "A" * 22


async def test_there_are_no_default_accounts(place: Town) -> None:
    """F10: whoever is there has registered."""
    assert await place.accounts.list_users() == [place.ada]


@pytest.mark.parametrize(
    ("username", "email"),
    [("ada", "other@example.com"), ("other", "ADA@example.com"), ("ＡＤＡ", "o@example.com")],  # noqa: RUF001
)
async def test_a_name_that_is_taken_is_refused(place: Town, username: str, email: str) -> None:
    """Without regard to case and form; and who has it is untouched."""
    refused = await refusal(place.accounts.register(username, email, "Other", NEW_PASSWORD))

    assert (refused.code, refused.remedy) == ("identifier_taken", Remedy.NONE)
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


async def test_of_fifty_registrations_at_once_one_succeeds(place: Town) -> None:
    """However the name is written."""
    attempts = [
        place.accounts.register(name, f"{n}@example.com", "Grace", PASSWORD)
        for n, name in enumerate(["grace", "GRACE", "Grace", "gracE", "Ｇrace"] * 10)  # noqa: RUF001
    ]

    assert sorted(await outcomes(*attempts)) == ["done"] + ["identifier_taken"] * 49
    assert len(await place.accounts.list_users()) == 2


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("username", ("a@b", "a@example.com", "Somebody")),
        ("email", ("somebody", "nowhere", "Somebody")),
        ("fullname", ("somebody", "a@example.com", "Some\nbody")),
    ],
)
async def test_a_field_that_cannot_be_taken_is_named(
    memory: Town, field: str, fields: tuple[str, str, str]
) -> None:
    """And nothing is stored."""
    with pytest.raises(InvalidField) as refused:
        await memory.accounts.register(*fields, PASSWORD)

    assert (refused.value.code, refused.value.field) == ("invalid_field", field)
    assert await memory.accounts.list_users() == [memory.ada]


async def test_a_password_that_will_not_do_is_refused(memory: Town) -> None:
    """F3: by the rules, which know the user's names and the service's."""
    accounts = memory.accounts_on(
        memory.users, memory.sessions, rules=PasswordRules(min_length=9, service_name="Gazebo")
    )

    for password in ("football", "12345678", "Somebody1", "gazebo123"):
        with pytest.raises(PasswordRefused):
            await accounts.register("somebody", "a@example.com", "Somebody", password)
    assert await memory.accounts.list_users() == [memory.ada]


async def test_a_user_whose_claims_no_token_can_carry_is_not_made(memory: Town) -> None:
    """Else they could never sign in."""
    with pytest.raises(ClaimsRefused):
        await memory.accounts.register(
            "somebody", "a@example.com", "Somebody", PASSWORD, permissions=["read all"]
        )
    assert await memory.accounts.list_users() == [memory.ada]


async def test_registrations_that_probe_for_names_are_slowed_down(place: Town) -> None:
    """F7: names found taken count on the network they were asked from, and on no other."""
    taken = ("ada", "other@example.com", "Other", PASSWORD)
    free = ("grace", "grace@example.com", "Grace", PASSWORD)
    probes = [place.accounts.register(*taken, address=ADDRESS) for _ in range(50)]
    assert await outcomes(*probes) == ["identifier_taken"] * 50

    assert await outcomes(
        place.accounts.register(*taken, address=ADDRESS),
        place.accounts.register(*free, address=ADDRESS),
        place.accounts.register(*free, address="192.0.2.2"),
    ) == ["too_many_attempts", "too_many_attempts", "done"]


async def test_probes_at_once_tell_no_more_than_one_after_another(place: Town) -> None:
    """F6, F7: of sixty in one second fifty are told that the name is taken."""
    taken = ("ada", "other@example.com", "Other", PASSWORD)

    told = await outcomes(*(place.accounts.register(*taken, address=ADDRESS) for _ in range(60)))

    assert sorted(told) == ["identifier_taken"] * 50 + ["too_many_attempts"] * 10


async def test_users_without_end_are_slowed_down(place: Town) -> None:
    """F6: each one added counts on the network; an administrator, without an address, has none."""

    def add(number: int, address: str) -> Awaitable[object]:
        names = (f"user {number}", f"{number}@example.com", "Somebody", PASSWORD)
        return place.accounts.register(*names, address=address)

    assert await outcomes(*(add(n, ADDRESS) for n in range(50))) == ["done"] * 50
    assert await outcomes(add(50, ADDRESS), add(51, "")) == ["too_many_attempts", "done"]


@pytest.mark.parametrize(
    "refused", [("a@b", PASSWORD, "invalid_field"), ("grace", "password", "password_refused")]
)
async def test_registrations_that_are_refused_are_slowed_down(
    place: Town, refused: tuple[str, str, str]
) -> None:
    """F9: each costs us the checks of its fields and password, and counts on the network."""
    username, password, code = refused

    async def add() -> object:
        names = (username, "grace@example.com", "Grace")
        return await place.accounts.register(*names, password, address=ADDRESS)

    assert await outcomes(*(add() for _ in range(50))) == [code] * 50
    assert await outcomes(add()) == ["too_many_attempts"]


# ── sign in ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("identifier", ["Ada", "ada", "ADA@EXAMPLE.COM", " ada@example.com "])
async def test_a_user_signs_in_by_username_or_email(place: Town, identifier: str) -> None:
    """The tokens are theirs, and the session keeps what the request told."""
    user, tokens = await place.accounts.login(identifier, PASSWORD, device=LAPTOP, remember=False)

    access = place.sessions.verify(tokens.access_token)
    assert user == place.ada
    assert (access.user_id, access.claims) == (user.id, place.accounts.claims_of(user))
    assert (tokens.session.device, tokens.session.remember) == (LAPTOP, False)


async def test_signing_in_again_ends_the_session_it_replaces(place: Town) -> None:
    """G1: the client's earlier session ends."""
    _, first = await place.accounts.login("ada", PASSWORD)

    _, second = await place.accounts.login("ada", PASSWORD, replaces=first.refresh_token)

    assert await is_over(place, first, EndReason.REPLACED)
    assert [session.sid for session in await place.living()] == [second.session.sid]


@pytest.mark.parametrize(
    ("profile", "claims"),
    [
        (
            True,
            Claims(
                username="grace",
                email="grace@example.com",
                fullname="Grace Hopper",
                permissions=("compile",),
            ),
        ),
        (False, Claims(permissions=("compile",))),
    ],
)
async def test_the_profile_in_tokens_is_a_choice(
    memory: Town, *, profile: bool, claims: Claims
) -> None:
    """D11: access tokens say who the user is, or nothing but what they may do."""
    accounts = memory.accounts_on(memory.users, memory.sessions, profile_in_token=profile)
    await accounts.register(
        "grace", "grace@example.com", "Grace Hopper", PASSWORD, permissions=["compile"]
    )

    _, tokens = await accounts.login("grace", PASSWORD)

    assert memory.sessions.verify(tokens.access_token).claims == claims


async def test_unknown_wrong_and_disabled_are_one_refusal(place: Town) -> None:
    """F7: the same error, and nothing in it tells them apart."""
    await place.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    grace = await place.accounts.find_user("grace")
    await place.accounts.disable(grace.id)

    refusals = [
        await refusal(place.accounts.login(name, password))
        for name, password in [("nobody", PASSWORD), ("ada", WRONG), ("grace", PASSWORD)]
    ]

    assert {type(refused) for refused in refusals} == {InvalidCredentials}
    assert {str(refused) for refused in refusals} == {"Invalid user credentials"}
    assert {(refused.code, refused.remedy) for refused in refusals} == {
        ("invalid_credentials", Remedy.NONE)
    }
    assert all(vars(refused) == {} for refused in refusals)


async def test_unknown_wrong_and_disabled_are_the_same_work(memory: Town) -> None:
    """F7: the same calls of the store and one verification, so that time tells nothing either."""
    await memory.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    await memory.accounts.disable((await memory.accounts.find_user("grace")).id)
    work = []
    for name, password in [("nobody", WRONG), ("ada", WRONG), ("grace", PASSWORD), ("\ud800", "")]:
        watched = Meddling(cast("Store", memory.users))
        accounts = memory.accounts_on(cast("UserStore", watched), memory.sessions)
        memory.hasher.checked.clear()

        await refusal(accounts.login(name, password, device=LAPTOP))

        work.append((watched.calls, len(memory.hasher.checked)))

    assert work == [(["find", "blocked_until", "settle"], 1)] * 4


async def test_a_device_that_nobody_could_read_again_is_no_event(place: Town) -> None:
    """Not even of an attempt that fails: the list of events would be lost with it."""
    nameless = Device(user_agent=cast("str", None))

    for attempt in (
        place.accounts.login("ada", WRONG, device=nameless),
        place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD, device=nameless),
        place.accounts.reset_password("token", NEW_PASSWORD, device=nameless),
    ):
        with pytest.raises(TypeError, match="a Device has text"):
            await attempt
    assert await place.sessions.events(place.ada.id, limit=9) == []


@pytest.mark.parametrize(
    "password", ["", "\0", PASSWORD + "\0", PASSWORD.upper(), "\ud800", "x" * 9999]
)
async def test_only_the_very_password_signs_in(memory: Town, password: str) -> None:
    """F4: no more and no less of it, in its own case."""
    with pytest.raises(InvalidCredentials):
        await memory.accounts.authenticate("ada", password)


async def test_hashes_are_renewed_at_sign_in_when_parameters_rise(place: Town) -> None:
    """F5: with the password at hand; sessions and the password stay good."""
    _, earlier = await place.accounts.login("ada", PASSWORD)
    place.hasher.strength = 2

    await place.accounts.login("ada", PASSWORD)

    account = await place.users.get(place.ada.id)
    assert account is not None
    assert not place.hasher.outdated(account.password_hash)
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada
    assert (await place.sessions.refresh(earlier.refresh_token)).session.user_id == place.ada.id


async def test_a_wrong_password_renews_no_hash(place: Town) -> None:
    """F5: else it would become the right one."""
    place.hasher.strength = 2

    await refusal(place.accounts.login("ada", WRONG))

    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


async def test_a_sign_in_that_is_always_raced_is_put_off(memory: Town) -> None:
    """The user is told to come again, not that anything of theirs was wrong."""
    raced = Meddling(memory.store)

    async def disable_and_enable() -> None:
        await memory.accounts.disable(memory.ada.id)
        await memory.accounts.enable(memory.ada.id)

    for _ in range(20):
        raced.before("add", disable_and_enable)
    async with loaded(cast("Store", raced), memory.clock) as sessions:
        accounts = memory.accounts_on(memory.users, sessions)

        refused = await refusal(accounts.login("ada", PASSWORD))

    assert type(refused) is Unavailable
    assert not isinstance(refused, SignInRaced)
    assert await memory.living() == []


# ── throttle ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["ada", "nobody", "\ud800"])
async def test_failures_slow_down_known_and_unknown_names_alike(place: Town, name: str) -> None:
    """F6, F7: after the fifth, the next attempt is refused without being looked at."""
    told = [await refusal(place.accounts.login(name, WRONG)) for _ in range(5)]
    place.hasher.checked.clear()

    blocked = await refusal(place.accounts.login(name, PASSWORD))

    assert [refused.code for refused in told] == ["invalid_credentials"] * 5
    assert (blocked.code, blocked.remedy) == ("too_many_attempts", Remedy.RETRY)
    assert isinstance(blocked, TooManyAttempts)
    assert blocked.retry_after == 1
    assert place.hasher.checked == []


async def fail_in_turn(place: Town, *names: str) -> None:
    """A hundred and one failures, as fast as the delays of the names allow it."""
    for n in range(101):
        place.clock.sleep(900)
        await refusal(place.accounts.login(names[n % 2], WRONG))


async def test_another_name_of_the_account_is_no_second_chance(place: Town) -> None:
    """F6: after the hundredth failure in a row each slows down both, by whichever name."""
    await fail_in_turn(place, "ada", "ada@example.com")

    assert await outcomes(place.accounts.login("ada@example.com", PASSWORD)) == [
        "too_many_attempts"
    ]
    place.clock.sleep(900)
    assert await outcomes(
        place.accounts.login("ada@example.com", PASSWORD),
        place.accounts.login("ada@example.com", WRONG),
        place.accounts.login("ada@example.com", PASSWORD),
    ) == ["done", "invalid_credentials", "done"]


async def test_unlocking_forgets_what_was_counted_on_the_account(place: Town) -> None:
    """F6: as what was counted on its names."""
    await fail_in_turn(place, "ada", "ada@example.com")

    await place.accounts.unlock(place.ada.id)

    assert await outcomes(
        place.accounts.login("ada", WRONG), place.accounts.login("ada@example.com", PASSWORD)
    ) == ["invalid_credentials", "done"]


async def test_names_that_nobody_has_are_of_no_account_together(place: Town) -> None:
    """F7: and as much is counted for each."""
    await fail_in_turn(place, "nobody", "nobody@example.com")

    assert await outcomes(place.accounts.login("nobody@example.com", WRONG)) == [
        "invalid_credentials"
    ]


async def test_the_delay_doubles_and_ends_by_itself(place: Town) -> None:
    """F6: 1 s, 2 s, 4 s; the right password is let in when the time is up."""
    for _ in range(4):
        await refusal(place.accounts.login("ada", WRONG))
    for delay in (1, 2, 4):
        await refusal(place.accounts.login("ada", WRONG))
        place.clock.sleep(delay - 1)
        assert await outcomes(place.accounts.login("ada", PASSWORD)) == ["too_many_attempts"]
        place.clock.sleep(1)

    user, _ = await place.accounts.login("ada", PASSWORD)

    assert user == place.ada
    assert await outcomes(place.accounts.login("ada", WRONG)) == ["invalid_credentials"]


async def test_guesses_at_once_tell_no_more_than_one_after_another(place: Town) -> None:
    """F6: five of a hundred in one second are judged; the right one among the others is not."""
    guesses = [place.accounts.login("ada", WRONG) for _ in range(50)]

    told = await outcomes(*guesses, place.accounts.login("ada", PASSWORD))

    assert sorted(told[:50]) == ["invalid_credentials"] * 5 + ["too_many_attempts"] * 45
    assert told[50] == "too_many_attempts"
    assert await place.living() == []


async def test_sign_ins_of_one_user_at_once_all_succeed(place: Town) -> None:
    """F6: who knows the password is never slowed down by that."""
    attempts = (place.accounts.login("ada", PASSWORD, device=LAPTOP) for _ in range(20))

    assert await outcomes(*attempts) == ["done"] * 20
    assert len(await place.living()) == 20


async def test_a_failed_sign_in_is_an_event_of_the_user(place: Town) -> None:
    """H3: a wrong password, and the right one of who is disabled; of an unknown name nothing."""
    for name, password in [("ada", WRONG), ("nobody", PASSWORD)]:
        await refusal(place.accounts.login(name, password, device=LAPTOP))
    await place.accounts.disable(place.ada.id)
    await refusal(place.accounts.login("ada", PASSWORD, device=LAPTOP))

    failed = Event(
        at=place.sessions.now(),
        kind=EventKind.AUTHENTICATION_FAILED,
        user_id=place.ada.id,
        device=LAPTOP,
    )
    assert await place.sessions.events(place.ada.id, limit=9) == [failed, failed]


async def test_a_wrong_current_password_is_an_event_of_the_user(place: Town) -> None:
    """H3: whoever has the session may not be its user."""
    attempt = place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD, device=LAPTOP)
    await refusal(attempt)

    [event] = await place.sessions.events(place.ada.id, limit=9)
    assert (event.kind, event.device) == (EventKind.AUTHENTICATION_FAILED, LAPTOP)


async def test_failures_of_one_network_slow_down_its_guesses_at_all_names(place: Town) -> None:
    """F6: not those from elsewhere, and signing in with an own account is no way out."""
    await place.accounts.register("grace", "grace@example.com", "Grace", PASSWORD)
    for n in range(49):
        await refusal(place.accounts.login(f"name {n}", WRONG, device=LAPTOP))
    await place.accounts.login("grace", PASSWORD, device=LAPTOP)
    await refusal(place.accounts.login("name 50", WRONG, device=LAPTOP))

    assert await outcomes(
        place.accounts.login("ada", PASSWORD, device=LAPTOP),
        place.accounts.login("ada", PASSWORD, device=Device(address="::ffff:" + ADDRESS)),
        place.accounts.login("ada", PASSWORD, device=Device(address="192.0.2.2")),
    ) == ["too_many_attempts", "too_many_attempts", "done"]


async def test_a_guesser_does_not_keep_the_owner_from_changing_the_password(place: Town) -> None:
    """F6: whoever is signed in is not counted with strangers who know the name."""
    for _ in range(5):
        await refusal(place.accounts.login("ada", WRONG))

    assert await outcomes(
        place.accounts.login("ada", PASSWORD),
        place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD),
    ) == ["too_many_attempts", "done"]


async def test_a_name_in_the_log_tells_accounts_apart_and_no_more(place: Town) -> None:
    """H3: the same for all spellings of a name, and not the name."""
    of = place.accounts.name_in_log

    assert of("ada") == of(" ADA ") != of("grace")
    assert "ada" not in of("ada")


async def test_a_throttled_user_stays_signed_in(place: Town) -> None:
    """F6: whoever guesses at a name cannot shut its owner out of their sessions."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    for _ in range(5):
        await refusal(place.accounts.login("ada", WRONG))

    assert place.sessions.verify(tokens.access_token).user_id == place.ada.id
    assert (await place.sessions.refresh(tokens.refresh_token)).session.sid == tokens.session.sid


async def test_failures_are_counted_for_all_processes(place: Town) -> None:
    """F6: what one process counts, another heeds."""
    async with loaded(place.store, place.clock) as sessions:
        other = place.accounts_on(place.users, sessions)
        for accounts in (place.accounts, other, place.accounts, other, place.accounts):
            await refusal(accounts.login("ada", WRONG))

        assert await outcomes(other.login("ada", PASSWORD)) == ["too_many_attempts"]


async def test_forgotten_failures_are_swept(place: Town) -> None:
    """What no longer counts takes no room."""
    for n in range(3):
        await refusal(place.accounts.login(f"name {n}", WRONG, device=LAPTOP))

    assert await place.accounts.sweep() == 0
    place.clock.sleep(24 * 3600)
    assert await place.accounts.sweep() == 7
    assert await place.accounts.sweep() == 0


# ── overload ────────────────────────────────────────────────────────────────────────────────────


class StuckHasher(InstantHasher):
    """Verifies nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def verify(self, password_hash: str, password: bytes) -> bool:
        self.begun.set()
        self.go_on.wait()
        return super().verify(password_hash, password)


async def test_too_much_to_hash_is_our_fault_and_counts_nothing(memory: Town) -> None:
    """F9: those beyond the bound are told to come again in a second; sessions stay as they are."""
    _, tokens = await memory.accounts.login("ada", PASSWORD)
    memory.hasher = hasher = StuckHasher()
    busy = memory.accounts_on(memory.users, memory.sessions, width=1, queue=0)
    running = asyncio.create_task(busy.login("ada", PASSWORD))
    await asyncio.to_thread(hasher.begun.wait)

    refusals = [await refusal(busy.login("ada", WRONG)) for _ in range(9)]
    refusals.append(await refusal(busy.register("grace", "g@example.com", "Grace", PASSWORD)))
    refreshed = await memory.sessions.refresh(tokens.refresh_token)

    assert {type(refused) for refused in refusals} == {Unavailable}
    assert {refused.retry_after for refused in refusals if isinstance(refused, Unavailable)} == {1}
    assert memory.sessions.verify(refreshed.access_token).user_id == memory.ada.id
    hasher.go_on.set()
    assert (await running)[0] == memory.ada


async def test_one_network_does_not_turn_away_others(memory: Town) -> None:
    """F9: whoever signs in without end, with a right password, fills their own line only."""
    memory.hasher = hasher = StuckHasher()
    busy = memory.accounts_on(memory.users, memory.sessions, width=1, queue=4)

    def sign_in(address: str) -> asyncio.Task[object]:
        return asyncio.create_task(busy.login("ada", PASSWORD, device=Device(address=address)))

    greedy = [sign_in("192.0.2.1") for _ in range(9)]
    await asyncio.to_thread(hasher.begun.wait)
    modest = sign_in("192.0.2.2")
    for _ in range(20):
        await asyncio.sleep(0)
    hasher.go_on.set()
    refused = [
        isinstance(met, Unavailable)
        for met in await asyncio.gather(*greedy, return_exceptions=True)
    ]

    assert await modest
    assert refused.count(True) == 9 - (1 + 4) + 1  # the last one makes room


# ── passwords ───────────────────────────────────────────────────────────────────────────────────


async def test_a_new_password_ends_every_session_and_begins_one(place: Town) -> None:
    """F8, C7: the one it was changed in, too; the answer is a new one, on the same device."""
    _, first = await place.accounts.login("ada", PASSWORD)
    _, second = await place.accounts.login("ada", PASSWORD)

    user, tokens = await place.accounts.change_password(
        place.ada.id, PASSWORD, NEW_PASSWORD, device=LAPTOP, remember=False
    )

    assert user == place.ada
    assert await is_over(place, first, EndReason.PASSWORD_CHANGED)
    assert await is_over(place, second, EndReason.PASSWORD_CHANGED)
    assert [session.sid for session in await place.living()] == [tokens.session.sid]
    assert (tokens.session.device, tokens.session.remember) == (LAPTOP, False)
    assert place.sessions.verify(tokens.access_token).claims == place.accounts.claims_of(user)


async def test_after_a_change_only_the_new_password_signs_in(place: Town) -> None:
    """F8: the old one is a wrong one."""
    await place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD)

    assert await outcomes(
        place.accounts.login("ada", PASSWORD), place.accounts.login("ada", NEW_PASSWORD)
    ) == ["invalid_credentials", "done"]


async def test_a_change_is_told_in_the_events(place: Town) -> None:
    """F8: with the device it came from."""
    await place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD, device=LAPTOP)

    events = await place.store.events(user_id=place.ada.id, limit=9)
    assert [event.kind for event in events if event.sid is None] == [EventKind.PASSWORD_CHANGED]
    assert [event.device for event in events if event.sid is None] == [LAPTOP]


async def test_a_change_needs_the_current_password(place: Town) -> None:
    """F8, G7: without it nothing happens to password and sessions."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    refused = await refusal(place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD))

    assert type(refused) is InvalidCredentials
    assert place.sessions.verify(tokens.access_token).user_id == place.ada.id
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


async def test_guesses_at_the_current_password_are_slowed_down_as_at_sign_in(place: Town) -> None:
    """F6, F8: who holds a session may not guess any faster, and keeps nobody from signing in."""
    for _ in range(5):
        await refusal(place.accounts.change_password(place.ada.id, WRONG, NEW_PASSWORD))
    place.hasher.checked.clear()

    blocked = await refusal(place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD))

    assert isinstance(blocked, TooManyAttempts)
    assert blocked.retry_after == 1
    assert place.hasher.checked == []
    assert await outcomes(place.accounts.login("ada", PASSWORD)) == ["done"]


async def test_a_new_password_is_looked_at_only_with_the_current_one(place: Town) -> None:
    """F6, F9: to ask again and again what the rules say of one is slowed down as guesses are."""
    attempts = (place.accounts.change_password(place.ada.id, WRONG, "short") for _ in range(6))

    told = [(await refusal(attempt)).code for attempt in attempts]

    assert told == ["invalid_credentials"] * 5 + ["too_many_attempts"]


@pytest.mark.parametrize("new", ["short", "password", "ada-lovelace-1", "x" * 1025])
async def test_a_new_password_keeps_the_rules(place: Town, new: str) -> None:
    """F3: on a change and when an administrator sets it; sessions and password stay."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    assert (
        await outcomes(
            place.accounts.change_password(place.ada.id, PASSWORD, new),
            place.accounts.set_password(place.ada.id, new),
        )
        == ["password_refused"] * 2
    )
    assert place.sessions.verify(tokens.access_token).user_id == place.ada.id
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


async def test_an_administrator_sets_a_password(place: Town) -> None:
    """C7: every session ends, and only the new password signs in."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    await place.accounts.set_password(place.ada.id, NEW_PASSWORD)

    assert await is_over(place, tokens, EndReason.PASSWORD_CHANGED)
    assert await place.living() == []
    assert await place.accounts.authenticate("ada", NEW_PASSWORD) == place.ada


# ── disable and enable ──────────────────────────────────────────────────────────────────────────


async def test_disabling_ends_every_session_at_once(place: Town) -> None:
    """G6, C7: in this process with the very call."""
    _, tokens = await place.accounts.login("ada", PASSWORD)

    await place.accounts.disable(place.ada.id)

    assert await is_over(place, tokens, EndReason.USER_DISABLED)
    assert (await place.accounts.get_user(place.ada.id)).disabled_at == START


async def test_disabling_is_learnt_by_other_processes(place: Town) -> None:
    """G6: with the cutoffs that they follow."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    async with loaded(place.store, place.clock) as other:
        other.verify(tokens.access_token)
        await place.accounts.disable(place.ada.id)
        await other.catch_up()

        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_a_disabled_user_changes_no_password(place: Town) -> None:
    """G6: whatever they still hold."""
    await place.accounts.disable(place.ada.id)

    assert await outcomes(place.accounts.change_password(place.ada.id, PASSWORD, NEW_PASSWORD)) == [
        "invalid_credentials"
    ]
    await place.accounts.enable(place.ada.id)
    assert await place.accounts.authenticate("ada", PASSWORD) == place.ada


async def test_an_enabled_user_signs_in_again(place: Town) -> None:
    """The sessions of before stay over."""
    _, tokens = await place.accounts.login("ada", PASSWORD)
    await place.accounts.disable(place.ada.id)

    await place.accounts.enable(place.ada.id)

    user, _ = await place.accounts.login("ada", PASSWORD)
    assert user == place.ada
    assert await is_over(place, tokens, EndReason.USER_DISABLED)


# ── find ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("unknown", ["AAAAAAAAAAAAAAAAAAAAAA", "\ud800", "\0", ""])
async def test_who_is_unknown_is_told_to_be(place: Town, unknown: str) -> None:
    """To administrators: nothing is done, and nobody is made; whatever they ask for."""
    accounts = place.accounts

    assert (
        await outcomes(
            accounts.find_user(unknown),
            accounts.get_user(unknown),
            accounts.disable(unknown),
            accounts.enable(unknown),
            accounts.delete(unknown),
            accounts.unlock(unknown),
            accounts.set_password(unknown, NEW_PASSWORD),
            accounts.make_reset_token(unknown),
            accounts.change_password(unknown, PASSWORD, NEW_PASSWORD),
        )
        == ["user_unknown"] * 9
    )
    assert await accounts.list_users() == [place.ada]


async def test_users_are_listed_by_name_in_pages(place: Town) -> None:
    """Each page goes on from the last name of the one before."""
    for name in ("zoe", "Bob", "eve"):
        await place.accounts.register(name, f"{name}@example.com", "Somebody", PASSWORD)

    first = await place.accounts.list_users(limit=3)
    rest = await place.accounts.list_users(after=first[-1].username)

    assert [user.username for user in first + rest] == ["Ada", "Bob", "eve", "zoe"]


async def test_hashes_are_not_shown(memory: Town) -> None:
    """H1: what is printed of an account, or raised about it, holds no hash and no password."""
    account = await memory.users.get(memory.ada.id)
    refused = await refusal(memory.accounts.login("ada", WRONG))

    assert isinstance(account, Account)
    assert account.password_hash not in f"{account!r} {account} {memory.ada!r}"
    assert WRONG not in f"{refused!r}"


async def test_argon2id_is_what_hashes_by_default(memory: Town) -> None:
    """F5: registered and signed in with the real thing."""
    hashing = PasswordHashing()
    accounts = Accounts(memory.users, memory.sessions, hashing=hashing)
    user = await accounts.register("grace", "grace@example.com", "Grace", PASSWORD)

    account = await memory.users.get(user.id)

    assert account is not None
    assert account.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await accounts.authenticate("grace", PASSWORD) == user
    assert await outcomes(accounts.authenticate("grace", WRONG)) == ["invalid_credentials"]
    accounts.close()
