"""The laws of the contract of ``UserStore``, held against every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from keyturn.accounts import open_users
from keyturn.accounts.model import Account, User
from keyturn.accounts.store import UserStore
from keyturn.accounts.throttle import ThrottleKey, identifier_key, network_key
from keyturn.core.errors import ConfigurationError
from keyturn.core.model import ALL_VERSIONS, Device, EndReason, Event, EventKind, Session
from keyturn.stores import Store
from keyturn.stores.base import Ending
from tests.accounts.support import STORES, store_of
from tests.support import START, Meddling

ADA = User(
    id="user-ada",
    username="Ada",
    email="Ada@Example.com",
    fullname="Ada Lovelace",
    permissions=("read", "write"),
    created_at=START,
)
BOB = User(
    id="user-bob", username="bob", email="bob@example.com", fullname="Bob", created_at=START + 1
)
ENDING = Ending(EndReason.PASSWORD_CHANGED, START + 50, START + 800)
LAPTOP = Device(user_agent="laptop", address="192.0.2.1")
NAME = identifier_key(bytes(32), "ada")
NETWORK = cast("ThrottleKey", network_key(bytes(32), "192.0.2.1"))
KEYS = [NAME, NETWORK]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = await store_of(request.param, tmp_path)
    yield store
    await store.close()


@pytest.fixture
def users(store: Store) -> UserStore:
    return open_users(store)


async def sign_in(store: Store, sid: str, user_id: str = ADA.id, epoch: int = 0) -> None:
    session = Session(sid=sid.ljust(22, "A"), user_id=user_id, secret=bytes(32), created_at=START)
    begun = await store.add(session, limit=50, replaces=None, epoch=epoch, cutoffs_until=START)
    assert begun is not None


async def account(users: UserStore, user: User = ADA) -> Account:
    account = await users.get(user.id)
    assert account is not None
    return account


async def fail(users: UserStore, times: int, now: int = START) -> None:
    for _ in range(times):
        assert await users.settle(KEYS, success=False, now=now) == 0


async def test_a_user_is_found_by_id_and_by_both_names(users: UserStore) -> None:
    """What was added is read back as it was, hash and all."""
    assert await users.add(ADA, "hash")

    expected = Account(user=ADA, password_hash="hash", epoch=0)
    assert await users.get(ADA.id) == expected
    assert await users.find("ada") == expected
    assert await users.find("ada@example.com") == expected


@pytest.mark.parametrize(
    "key", ["", "Ada", "ad", "ada\0", "' OR 1=1 --", "Ada@Example.com", "x" * 5000]
)
async def test_nobody_is_found_by_what_is_no_name_of_theirs(users: UserStore, key: str) -> None:
    """Only the keys find; the names as given, ids of others and odd texts do not."""
    await users.add(ADA, "hash")

    assert await users.find(key) is None
    assert await users.get(key) is None


@pytest.mark.parametrize(
    "other",
    [
        replace(BOB, username="aDA"),
        replace(BOB, email="ADA@example.COM"),
        replace(BOB, username="ａｄａ"),  # noqa: RUF001  wide letters
        replace(BOB, id=ADA.id),
    ],
)
async def test_a_name_is_had_once(users: UserStore, other: User) -> None:
    """A user with a key, or an id, of another is not added, and the other stays."""
    await users.add(ADA, "hash")

    assert not await users.add(other, "other hash")
    assert await users.list_users(after="", limit=9) == [ADA]
    assert (await account(users)).password_hash == "hash"


async def test_of_many_with_one_name_one_is_added(users: UserStore) -> None:
    """However many try at once."""
    twins = [replace(ADA, id=f"user-{n}", email=f"{n}@example.com") for n in range(50)]

    added = await asyncio.gather(*(users.add(twin, "hash") for twin in twins))

    assert sum(added) == 1
    assert await users.list_users(after="", limit=99) == [twins[added.index(True)]]


async def test_users_are_listed_by_name_in_pages(users: UserStore) -> None:
    """Each once, in the order of their keys, from past the one given."""
    names = ["Zoe", "adam", "Bob", "eve", "Ćira"]
    for n, name in enumerate(names):
        await users.add(
            replace(ADA, id=f"user-{n}", username=name, email=f"{n}@example.com"), "hash"
        )

    first = await users.list_users(after="", limit=3)
    rest = await users.list_users(after=first[-1].username_key, limit=3)

    assert [user.username for user in first + rest] == ["adam", "Bob", "eve", "Zoe", "Ćira"]


async def test_a_new_password_ends_every_session_in_one_go(store: Store, users: UserStore) -> None:
    """The hash is written, the sessions are over, the epoch is raised, the event is recorded."""
    await users.add(ADA, "hash")
    await sign_in(store, "one")
    await sign_in(store, "two")
    await sign_in(store, "bobs", BOB.id)

    cutoffs = await users.set_password(await account(users), "new", ENDING, LAPTOP)

    assert {(cutoff.sid, cutoff.version) for cutoff in cutoffs or ()} == {
        ("one".ljust(22, "A"), ALL_VERSIONS),
        ("two".ljust(22, "A"), ALL_VERSIONS),
    }
    assert await account(users) == Account(user=ADA, password_hash="new", epoch=1)
    assert await store.user_epoch(ADA.id) == 1
    assert await store.list_sessions(ADA.id) == []
    assert len(await store.list_sessions(BOB.id)) == 1
    assert Event(
        at=ENDING.at, kind=EventKind.PASSWORD_CHANGED, user_id=ADA.id, device=LAPTOP
    ) in await store.events(user_id=ADA.id, limit=9)


async def test_a_password_is_not_set_on_an_old_reading(store: Store, users: UserStore) -> None:
    """If the epoch moved since the account was read, nothing at all is done."""
    await users.add(ADA, "hash")
    read_before = await account(users)
    await store.end_user(ADA.id, None, ENDING)
    await sign_in(store, "one", epoch=1)

    assert await users.set_password(read_before, "new", ENDING, LAPTOP) is None
    assert (await account(users)).password_hash == "hash"
    assert len(await store.list_sessions(ADA.id)) == 1
    assert all(
        event.kind is not EventKind.PASSWORD_CHANGED
        for event in await store.events(user_id=ADA.id, limit=9)
    )


async def test_of_many_new_passwords_on_one_reading_one_is_set(users: UserStore) -> None:
    """However many try at once."""
    await users.add(ADA, "hash")
    read_once = await account(users)

    done = await asyncio.gather(
        *(users.set_password(read_once, f"new {n}", ENDING, LAPTOP) for n in range(20))
    )

    winners = [n for n, cutoffs in enumerate(done) if cutoffs is not None]
    assert len(winners) == 1
    assert (await account(users)).password_hash == f"new {winners[0]}"


async def test_a_user_who_is_gone_gets_no_password(users: UserStore) -> None:
    """Unknown is not an error."""
    stranger = Account(user=BOB, password_hash="hash", epoch=0)

    assert await users.set_password(stranger, "new", ENDING, LAPTOP) is None
    await users.rehash(stranger, "new")
    assert await users.disable(BOB.id, ENDING) is None
    assert not await users.enable(BOB.id)
    assert await users.get(BOB.id) is None


async def test_another_hash_of_the_same_password_ends_nothing(
    store: Store, users: UserStore
) -> None:
    """F5: a hash with more work takes the place of the old one, and sessions and epoch stay."""
    await users.add(ADA, "hash")
    await sign_in(store, "one")

    await users.rehash(await account(users), "better")

    assert await account(users) == Account(user=ADA, password_hash="better", epoch=0)
    assert len(await store.list_sessions(ADA.id)) == 1


async def test_a_better_hash_never_undoes_a_new_password(users: UserStore) -> None:
    """F5: it is of the old password, so it is written only where that hash still is."""
    await users.add(ADA, "hash")
    read_before = await account(users)
    await users.set_password(read_before, "new", ENDING, LAPTOP)

    await users.rehash(read_before, "better hash of the old one")

    assert (await account(users)).password_hash == "new"


async def test_disabling_ends_every_session_in_one_go(store: Store, users: UserStore) -> None:
    """G6: the user is marked, the sessions are over, the epoch is raised."""
    await users.add(ADA, "hash")
    await sign_in(store, "one")

    cutoffs = await users.disable(ADA.id, ENDING)

    assert [cutoff.sid for cutoff in cutoffs or ()] == ["one".ljust(22, "A")]
    disabled = replace(ADA, disabled_at=ENDING.at)
    assert await account(users) == Account(user=disabled, password_hash="hash", epoch=1)
    assert await store.list_sessions(ADA.id) == []


async def test_disabling_again_keeps_the_time_and_raises_the_epoch(users: UserStore) -> None:
    """G6: a sign-in that began meanwhile is refused all the same."""
    await users.add(ADA, "hash")
    await users.disable(ADA.id, ENDING)

    assert await users.disable(ADA.id, replace(ENDING, at=ENDING.at + 9)) == []
    assert (await account(users)).user.disabled_at == ENDING.at
    assert (await account(users)).epoch == 2


async def test_enabling_takes_the_mark_away(users: UserStore) -> None:
    """A user who was never disabled is known all the same."""
    await users.add(ADA, "hash")
    await users.disable(ADA.id, ENDING)

    assert await users.enable(ADA.id)
    assert await users.enable(ADA.id)
    assert (await account(users)).user == ADA


async def test_failures_count_on_every_key(users: UserStore) -> None:
    """F6: the fifth blocks the name, the fiftieth the network, each by itself."""
    await fail(users, 5)
    for _ in range(45):
        await users.settle([NETWORK], success=False, now=START)

    assert await users.blocked_until([NAME], START) == START + 1
    assert await users.blocked_until([NETWORK], START) == START + 1
    assert await users.blocked_until([identifier_key(bytes(32), "bob")], START) == 0
    assert await users.blocked_until(KEYS, START + 1) == 0


@pytest.mark.parametrize("success", [True, False])
async def test_a_blocked_attempt_changes_nothing(users: UserStore, *, success: bool) -> None:
    """F6: it is told when the block ends; so does one that failed, and neither counts."""
    await fail(users, 5)

    assert await users.settle(KEYS, success=success, now=START) == START + 1
    await fail(users, 1, START + 1)
    assert await users.blocked_until(KEYS, START + 1) == START + 3


async def test_a_success_clears_the_name_and_not_the_network(users: UserStore) -> None:
    """F6: one account of one's own is no licence to guess at others."""
    await fail(users, 4)

    assert await users.settle(KEYS, success=True, now=START) == 0
    await fail(users, 1)
    for _ in range(45):
        await users.settle([NETWORK], success=False, now=START)

    assert await users.blocked_until([NAME], START) == 0
    assert await users.blocked_until([NETWORK], START) == START + 1


async def test_failures_at_once_count_one_after_another(users: UserStore) -> None:
    """F6: of a hundred in one second five count, the others are refused."""
    outcomes = await asyncio.gather(
        *(users.settle(KEYS, success=False, now=START) for _ in range(100))
    )

    assert sorted(outcomes) == [0] * 5 + [START + 1] * 95


async def test_forgotten_failures_are_swept_in_bounded_batches(users: UserStore) -> None:
    """What still counts is kept."""
    names = [identifier_key(bytes(32), f"name {n}") for n in range(5)]
    for name in names:
        await users.settle([name], success=False, now=START)
    for _ in range(5):
        await users.settle(KEYS, success=False, now=START + 1)
    later = START + names[0].memory

    assert [await users.sweep(START, 3), await users.sweep(later - 1, 3)] == [0, 1]
    assert [await users.sweep(later, 3) for _ in range(3)] == [3, 2, 0]
    assert await users.settle([NAME], success=False, now=START + 1) == START + 2


async def test_a_store_of_another_kind_holds_no_users(store: Store) -> None:
    """The assembly of a server is told so, by the setting."""
    foreign = cast("Store", Meddling(store))

    with pytest.raises(ConfigurationError, match="database_url"):
        open_users(foreign)


async def test_users_outlive_the_process(tmp_path: Path) -> None:
    """Users and counters are read from the file that an earlier process left."""
    first = await store_of("sqlite", tmp_path)
    await open_users(first).add(ADA, "hash")
    await fail(open_users(first), 5)
    await first.close()

    second = await store_of("sqlite", tmp_path)

    assert await open_users(second).find("ada") == Account(user=ADA, password_hash="hash", epoch=0)
    assert await open_users(second).blocked_until(KEYS, START) == START + 1
    await second.close()
