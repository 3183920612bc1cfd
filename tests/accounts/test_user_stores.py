"""The laws of the contract of ``UserStore``, held against every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from msgspec.structs import replace

from keyturn.accounts import open_users
from keyturn.accounts.model import Account, User
from keyturn.accounts.store import NotChanged, UserStore
from keyturn.accounts.throttle import ThrottleKey, identifier_key, network_key
from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.core.model import (
    ALL_VERSIONS,
    Claims,
    Cutoff,
    Device,
    EndReason,
    Event,
    EventKind,
    Session,
)
from keyturn.stores import Store
from keyturn.stores.base import ClaimsChange, Ending
from tests.accounts.support import STORES, store_of
from tests.support import START, Meddling

Result = TypeVar("Result")

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
DELETION = Ending(EndReason.USER_DELETED, START + 50, START + 800)
COUNTESS = Claims(username="Countess")
CHANGE = ClaimsChange(COUNTESS, at=START + 50, least_version=7, tokens_until=START + 800)
DIGEST = bytes(range(32))
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
    session = Session(
        sid=sid.ljust(22, "A"),
        user_id=user_id,
        secret=bytes(32),
        created_at=START,
        claims=Claims(fullname="Somebody"),
        device=LAPTOP,
    )
    begun = await store.add(session, limit=50, replaces=None, epoch=epoch, tokens_until=START)
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


async def test_of_many_users_those_are_added_whose_names_are_free(users: UserStore) -> None:
    """One after the other, so that of two with one name the first is added."""
    await users.add(ADA, "hash")
    eve = User(id="user-eve", username="eve", email="eve@e.example", fullname="Eve", created_at=0)
    many = [
        replace(BOB, permissions=("read", "write"), disabled_at=START + 2),
        replace(BOB, id="user-3", email="3@example.com"),
        replace(BOB, id="user-4", username="four", email="BOB@example.com"),
        replace(BOB, id="user-5", username="five", email="ADA@example.com"),
        eve,
    ]

    added = await users.add_many([(user, f"hash of {user.id}") for user in many])

    assert added == [True, False, False, False, True]
    assert await users.list_users(after="", limit=9) == [ADA, many[0], eve]
    assert (await account(users, eve)).password_hash == "hash of user-eve"
    assert await users.add_many([]) == []


async def patiently(call: Callable[[Any], Awaitable[Result]], argument: object) -> Result:
    """On a slow disk those who wait for each other may wait too long, which is told."""
    for _ in range(9):
        with suppress(StoreUnavailable):
            return await call(argument)
    return await call(argument)


async def test_of_many_lists_at_once_each_user_is_added_once(users: UserStore) -> None:
    """Also where they are in another order, in which each could wait for the other."""
    lists = [
        [
            (replace(BOB, id=f"{m}-{n}", username=f"u-{n}", email=f"{n}@e.example"), "hash")
            for n in ns
        ]
        for m, ns in enumerate([range(40), range(39, -1, -1)] * 2)
    ]

    added = await asyncio.gather(*(patiently(users.add_many, each) for each in lists))

    assert sum(map(sum, added)) == 40
    assert len(await users.list_users(after="", limit=99)) == 40


async def test_users_are_found_by_any_of_their_names(users: UserStore) -> None:
    """Each once, and only those that were asked for."""
    await users.add(ADA, "hash")
    await users.add(BOB, "hash")

    assert await users.find_users(["ada", "ada@example.com", "nobody"]) == [ADA]
    assert await users.find_users(["bob@example.com"]) == [BOB]
    found = await users.find_users(["bob", "ada@example.com"])
    assert sorted(user.id for user in found) == [ADA.id, BOB.id]
    assert await users.find_users([]) == []


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
    assert await users.change(stranger, BOB, CHANGE) is NotChanged.RACED
    assert await users.delete(BOB.id, DELETION) is None
    assert not await users.set_reset(BOB.id, DIGEST, START + 9)
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


async def test_other_names_are_told_by_every_session_at_once(
    store: Store, users: UserStore
) -> None:
    """The names are written, what sessions say is changed, the epoch is raised; nothing ends."""
    await users.add(ADA, "hash")
    await sign_in(store, "one")
    countess = replace(ADA, username="Countess", email="c@example.com", fullname="Ada, Countess")

    cutoffs = await users.change(await account(users), countess, CHANGE)

    [session] = await store.list_sessions(ADA.id)
    assert cutoffs == [Cutoff(session.sid, 6, START + 800)]
    assert (session.claims, session.version) == (COUNTESS, 7)
    assert await users.find("countess") == Account(user=countess, password_hash="hash", epoch=1)
    assert await users.find("c@example.com") == await users.get(ADA.id)
    assert await users.find("ada") is await users.find("ada@example.com") is None


async def test_only_names_are_changed(users: UserStore) -> None:
    """Nothing else that was read, and may have been changed since."""
    await users.add(ADA, "hash")
    await users.disable(ADA.id, ENDING)
    later = replace(ADA, fullname="Ada, Countess", permissions=("all",), created_at=0)

    await users.change(await account(users), later, CHANGE)

    expected = replace(ADA, fullname="Ada, Countess", disabled_at=ENDING.at)
    assert (await account(users)).user == expected


async def test_a_name_of_ones_own_may_be_written_otherwise(users: UserStore) -> None:
    """It is taken by nobody else."""
    await users.add(ADA, "hash")
    louder = replace(ADA, username="ADA")

    assert await users.change(await account(users), louder, CHANGE) == []
    assert (await account(users)).user == louder


@pytest.mark.parametrize("other", [{"username": "BOB"}, {"email": "bob@EXAMPLE.com"}])
async def test_a_name_of_somebody_else_changes_nothing(
    store: Store, users: UserStore, other: dict[str, str]
) -> None:
    """Neither the user, nor their sessions, nor their epoch."""
    await users.add(ADA, "hash")
    await users.add(BOB, "hash")
    await sign_in(store, "one")

    refused = await users.change(await account(users), replace(ADA, **other), CHANGE)

    assert refused is NotChanged.TAKEN
    assert await account(users) == Account(user=ADA, password_hash="hash", epoch=0)
    assert (await store.list_sessions(ADA.id))[0].version == 0


async def test_names_are_not_changed_on_an_old_reading(users: UserStore) -> None:
    """If the epoch moved since the account was read, nothing at all is done."""
    await users.add(ADA, "hash")
    read_before = await account(users)
    await users.set_password(read_before, "new", ENDING, LAPTOP)

    countess = replace(ADA, username="Countess")

    assert await users.change(read_before, countess, CHANGE) is NotChanged.RACED
    assert (await account(users)).user == ADA


async def test_of_many_who_take_one_name_one_gets_it(users: UserStore) -> None:
    """However many try at once; the others are told that it is taken."""
    many = [replace(BOB, id=f"{n}", username=f"u-{n}", email=f"{n}@e.example") for n in range(9)]
    await users.add_many([(user, "hash") for user in many])
    read = [await account(users, user) for user in many]

    outcomes = await asyncio.gather(
        *(users.change(one, replace(one.user, username="best"), CHANGE) for one in read)
    )

    assert outcomes.count(NotChanged.TAKEN) == 8
    assert len(await users.find_users(["best"])) == 1


async def test_a_deleted_user_is_gone_with_every_session(store: Store, users: UserStore) -> None:
    """G6, G8: the sessions are over, the names are free, and the epoch stays and was raised."""
    await users.add(ADA, "hash")
    await users.add(BOB, "hash")
    await sign_in(store, "one")
    await sign_in(store, "bobs", BOB.id)

    cutoffs = await users.delete(ADA.id, DELETION)

    [session] = (await store.get(["one".ljust(22, "A")])).values()
    assert [cutoff.sid for cutoff in cutoffs or ()] == [session.sid]
    assert (session.end_reason, session.secret) == (EndReason.USER_DELETED, None)
    assert await users.get(ADA.id) is await users.find("ada") is None
    assert await users.list_users(after="", limit=9) == [BOB]
    assert await store.user_epoch(ADA.id) == 1
    assert len(await store.list_sessions(BOB.id)) == 1
    assert await users.add(replace(ADA, id="user-another"), "hash")


async def test_of_a_deleted_user_nothing_is_kept_but_the_id(store: Store, users: UserStore) -> None:
    """Neither names nor devices, in what ended before either; of others everything is."""
    for user in (ADA, BOB):
        await users.add(user, "hash")
        await sign_in(store, f"ended-{user.id}", user.id)
        await store.end([f"ended-{user.id}".ljust(22, "A")], ENDING)
        await sign_in(store, f"living-{user.id}", user.id)
    await users.set_password(await account(users), "new", ENDING, LAPTOP)

    await users.delete(ADA.id, DELETION)

    kept = await store.events(user_id=ADA.id, limit=99)
    ended = await store.get([f"{how}-{ADA.id}".ljust(22, "A") for how in ("ended", "living")])
    [bobs] = (await store.get([f"ended-{BOB.id}".ljust(22, "A")])).values()
    assert len(kept) == 5
    assert {event.device for event in kept} == {Device()}
    assert {(s.claims.fullname, s.device) for s in ended.values()} == {("", Device())}
    assert len(ended) == 2
    assert (bobs.claims.fullname, bobs.device) == ("Somebody", LAPTOP)
    assert LAPTOP in [event.device for event in await store.events(user_id=BOB.id, limit=99)]


async def test_a_user_is_not_deleted_on_an_old_reading(store: Store, users: UserStore) -> None:
    """Where an epoch is given and has moved, nothing at all is done."""
    await users.add(ADA, "hash")
    await store.end_user(ADA.id, None, ENDING)

    assert await users.delete(ADA.id, DELETION, epoch=0) is None
    assert (await account(users)).epoch == 1
    assert await users.delete(ADA.id, DELETION, epoch=1) == []
    assert await users.get(ADA.id) is None


async def test_of_many_who_delete_a_user_one_does(store: Store, users: UserStore) -> None:
    """However many try at once; and no sign-in among them outlives it."""
    await users.add(ADA, "hash")
    session = Session(sid="".ljust(22, "A"), user_id=ADA.id, secret=bytes(32), created_at=START)

    async def begin(sid: str) -> None:
        await store.add(
            replace(session, sid=sid.ljust(22, "A")),
            limit=50,
            replaces=None,
            epoch=0,
            tokens_until=START,
        )

    deletions = [users.delete(ADA.id, DELETION) for _ in range(5)]
    sign_ins = [begin(f"s{n}") for n in range(10)]
    done = await asyncio.gather(*sign_ins[:5], *deletions, *sign_ins[5:])

    assert sum(cutoffs is not None for cutoffs in done[5:10]) == 1
    assert await store.list_sessions(ADA.id) == []
    assert await store.user_epoch(ADA.id) == 1


async def test_the_account_of_a_reset_is_found_until_it_ends(users: UserStore) -> None:
    """By its digest alone; to the second."""
    await users.add(ADA, "hash")
    await users.add(BOB, "hash")

    assert await users.set_reset(ADA.id, DIGEST, START + 9)

    assert await users.find_by_reset(DIGEST, START + 8) == await account(users)
    assert await users.find_by_reset(DIGEST, START + 9) is None
    assert await users.find_by_reset(bytes(32), START) is None


async def test_a_user_has_one_reset(users: UserStore) -> None:
    """A later one takes the place of the earlier one, and of no other user's."""
    await users.add(ADA, "hash")
    await users.add(BOB, "hash")
    for user_id, digest in ((ADA.id, b"1"), (BOB.id, b"2"), (ADA.id, b"3")):
        await users.set_reset(user_id, digest, START + 9)

    found = [await users.find_by_reset(digest, START) for digest in (b"1", b"2", b"3")]

    assert found == [None, await account(users, BOB), await account(users)]


async def test_a_disabled_user_gets_no_reset(users: UserStore) -> None:
    """And the one they had is forgotten."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, DIGEST, START + 9)
    await users.disable(ADA.id, ENDING)

    assert not await users.set_reset(ADA.id, b"another", START + 9)
    await users.enable(ADA.id)
    assert await users.find_by_reset(DIGEST, START) is None
    assert await users.find_by_reset(b"another", START) is None


@pytest.mark.parametrize(
    ("changed", "forgotten"),
    [
        ({"email": "other@example.com"}, True),
        ({"username": "other"}, False),
        ({"fullname": "Other"}, False),
    ],
)
async def test_another_email_makes_a_reset_forgotten(
    users: UserStore, changed: dict[str, str], *, forgotten: bool
) -> None:
    """It may have been sent to the old one."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, DIGEST, START + 9)

    await users.change(await account(users), replace(ADA, **changed), CHANGE)

    assert (await users.find_by_reset(DIGEST, START) is None) is forgotten


async def test_a_deleted_user_leaves_no_reset(users: UserStore) -> None:
    """Not for a user who is given the same id, either."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, DIGEST, START + 9)
    await users.delete(ADA.id, DELETION)

    await users.add(ADA, "hash")

    assert await users.find_by_reset(DIGEST, START) is None


@pytest.mark.parametrize("reset", [None, DIGEST])
async def test_a_new_password_makes_every_reset_forgotten(
    users: UserStore, reset: bytes | None
) -> None:
    """Whether it was set by it or otherwise."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, DIGEST, START + 9)

    assert await users.set_password(await account(users), "new", ENDING, LAPTOP, reset=reset) == []
    assert await users.find_by_reset(DIGEST, START) is None
    assert (await account(users)).password_hash == "new"


async def test_a_reset_that_is_not_theirs_any_more_sets_nothing(users: UserStore) -> None:
    """As after a later one was made, which stays."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, b"later", START + 9)

    for digest in (DIGEST, b""):
        refused = await users.set_password(
            await account(users), "new", ENDING, LAPTOP, reset=digest
        )
        assert refused is None
    assert await account(users) == Account(user=ADA, password_hash="hash", epoch=0)
    assert await users.find_by_reset(b"later", START) is not None


async def test_of_many_uses_of_one_reset_one_counts(users: UserStore) -> None:
    """C4: however many try at once."""
    await users.add(ADA, "hash")
    await users.set_reset(ADA.id, DIGEST, START + 9)

    async def use(number: int) -> bool:
        found = await users.find_by_reset(DIGEST, START)
        if found is None:
            return False
        new = f"new {number}"
        done = await users.set_password(found, new, ENDING, LAPTOP, reset=DIGEST)
        return done is not None

    done = await asyncio.gather(*map(use, range(20)))

    assert sum(done) == 1
    assert (await account(users)).password_hash == f"new {done.index(True)}"


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


async def test_what_is_counted_on_a_key_can_be_cleared(users: UserStore) -> None:
    """F6: of that key alone, blocked or not."""
    for _ in range(50):
        await users.settle([NETWORK], success=False, now=START)
    await users.settle([NAME], success=False, now=START)

    await users.clear([NETWORK, identifier_key(bytes(32), "bob")])
    await users.clear([])
    for _ in range(4):
        await users.settle([NAME], success=False, now=START)

    assert await users.blocked_until([NETWORK], START) == 0
    assert await users.blocked_until([NAME], START) == START + 1


FAILURE = Event(at=START, kind=EventKind.AUTHENTICATION_FAILED, user_id="user-ada", device=LAPTOP)


async def test_a_failure_that_counts_is_an_event(users: UserStore, store: Store) -> None:
    """H3: with the device that it came from."""
    await users.add(ADA, "hash")
    await users.settle(KEYS, success=False, now=START, failure=FAILURE)

    assert await store.events(user_id="user-ada", limit=9) == [FAILURE]


async def test_of_a_user_who_was_deleted_meanwhile_no_failure_is_kept(
    users: UserStore, store: Store
) -> None:
    """D11: the device of an attempt that was under way would stay."""
    assert await users.settle(KEYS, success=False, now=START, failure=FAILURE) == 0

    assert await store.events(user_id="user-ada", limit=9) == []


async def test_an_attempt_that_is_turned_away_is_no_event(users: UserStore, store: Store) -> None:
    """So nobody fills the table: the delays bound how many there are."""
    await users.add(ADA, "hash")
    for _ in range(5):
        await users.settle([NAME], success=False, now=START)
    assert await users.settle([NAME], success=False, now=START, failure=FAILURE) > START
    await users.settle([NETWORK], success=True, now=START)

    assert await store.events(user_id="user-ada", limit=9) == []


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


async def test_resets_that_are_over_are_swept_in_bounded_batches(users: UserStore) -> None:
    """With the counters, and those that are good still are kept."""
    many = [replace(BOB, id=f"{n}", username=f"u-{n}", email=f"{n}@e.example") for n in range(5)]
    await users.add_many([(user, "hash") for user in many])
    for n, user in enumerate(many):
        await users.set_reset(user.id, bytes([n]), START + 9 + n)
    await users.settle([NAME], success=False, now=START)

    assert [await users.sweep(START + 12, 3) for _ in range(3)] == [3, 1, 0]
    assert await users.find_by_reset(b"\4", START) is not None
    assert await users.sweep(START + NAME.memory, 3) == 2


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
