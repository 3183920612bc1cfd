"""Signing keys follow each other by themselves, can be retired at once, and survive damage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from keyturn import SigningKeyUnknown
from keyturn.core.errors import (
    AccessTokenInvalid,
    ConfigurationError,
    KeyturnError,
    StoreUnavailable,
)
from keyturn.core.model import DAY, SealedKey
from keyturn.sessions import Sessions
from keyturn.signing_keys import (
    KNOWN_AFTER,
    PUBLISHED_AHEAD,
    PUBLISHED_FOR,
    USED_FOR,
    checked_until,
    next_use,
)
from keyturn.stores.base import Store
from keyturn.stores.memory import MemoryStore
from keyturn.stores.sqlite import SQLiteStore
from tests.support import OTHER_SECRET, SECRET, Clock, Meddling, engine

DAMAGED = b"\x00" * 40


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)
    yield store
    await store.close()


@pytest.fixture
async def sessions(store: Store, clock: Clock) -> Sessions:
    return await an_engine(store, clock)


async def an_engine(store: Store, clock: Clock, **options: Any) -> Sessions:
    """One process, with nothing running in the background."""
    sessions = engine(store, clock, **options)
    await sessions.load()
    return sessions


async def a_while_later(sessions: Sessions, clock: Clock, seconds: int) -> None:
    """A server has been running meanwhile."""
    for _ in range(seconds // DAY):
        clock.sleep(DAY)
        await sessions._reload()
    clock.sleep(seconds % DAY)
    await sessions._reload()


def signing(sessions: Sessions) -> str:
    return sessions.keyring.signing_key(sessions.now()).kid


async def kids(store: Store) -> list[str]:
    return [key.kid for key in await store.signing_keys()]


async def damage(store: Store, kid: str, **change: Any) -> None:
    [key] = [key for key in await store.signing_keys() if key.kid == kid]
    change = change or {"sealed": DAMAGED}
    assert await store.replace_signing_key(key, replace(key, **change))


def accepts(sessions: Sessions, access_token: str) -> bool:
    return sessions.verify(access_token).sid != ""


def refuses(sessions: Sessions, access_token: str) -> bool:
    try:
        sessions.verify(access_token)
    except AccessTokenInvalid:
        return True
    return False


# ── the schedule ────────────────────────────────────────────────────────────────────────────────


def key(kid: str, use_from: int, created_at: int = 0) -> SealedKey:
    return SealedKey(
        kid=kid, algorithm="ES256", created_at=created_at, use_from=use_from, sealed=b""
    )


@pytest.mark.parametrize(
    ("day", "used_from_day"),
    [
        (0, None),
        (75.99, None),
        (76, 90),
        (80, 94),
        (90, 104),
        (400, 414),
    ],
)
def test_the_next_key_is_published_two_weeks_before_its_use(
    day: float, used_from_day: int | None
) -> None:
    """E2: in any case, also where no server was running when it should have been."""
    used_from = None if used_from_day is None else used_from_day * DAY

    assert next_use([key("older", -DAY), key("newest", 0)], int(day * DAY)) == used_from


def test_a_store_without_keys_needs_one_at_once() -> None:
    """The first one is used as soon as it is made."""
    assert next_use([], 1000) == 1000


def test_a_key_checks_until_its_last_token_has_ended() -> None:
    """E2: for one token's life after another took over, and that may be one added much later."""
    keys = [key("oldest", 100), key("skipped", 5000), key("older", 200), key("newest", 9000)]

    assert checked_until(keys, 600) == {"oldest": 800, "skipped": 800, "older": 9600}


async def test_keys_follow_each_other_for_years(clock: Clock) -> None:
    """H9: each signs for 90 days and is published for 14 before; no token is ever refused."""
    store = MemoryStore()
    sessions = await an_engine(store, clock)
    published: dict[str, int] = {}
    signed: dict[str, list[int]] = {}
    tokens = await sessions.create("ada")
    for day in range(3 * 365):
        for each in sessions.keyring.keys:
            published.setdefault(each.kid, day)
        signed.setdefault(signing(sessions), []).append(day)
        tokens = await sessions.refresh(tokens.refresh_token)
        await a_while_later(sessions, clock, sessions.policy.access_ttl - 1)
        assert accepts(sessions, tokens.access_token)
        await a_while_later(sessions, clock, DAY - sessions.policy.access_ttl + 1)
        tokens = await sessions.create("ada")

    spans = [(days[0], len(days)) for days in signed.values()]
    assert [length for _, length in spans[:-1]] == [90] * 12
    assert [first - published[kid] for kid, (first, _) in zip(signed, spans, strict=True)] == [
        0,
        *[14] * 12,
    ]
    assert len(await kids(store)) == 1


async def test_many_processes_that_renew_at_once_make_one_key(store: Store, clock: Clock) -> None:
    """Whoever comes second finds the key that is there."""
    engines = [engine(store, clock) for _ in range(10)]
    await asyncio.gather(*(each.load() for each in engines))
    clock.sleep(USED_FOR)

    await asyncio.gather(*(each._reload() for each in engines))

    assert {tuple(key.kid for key in each.keyring.keys) for each in engines} == {
        tuple(await kids(store))
    }
    assert len(await kids(store)) == 2


async def test_a_server_that_was_down_publishes_the_next_key_at_its_start(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E2: the overdue one signs on for as long as the next one is published."""
    [overdue] = await kids(store)
    clock.sleep(2 * USED_FOR)

    restarted = await an_engine(store, clock)

    [_, following] = await kids(store)
    assert signing(restarted) == overdue
    clock.sleep(PUBLISHED_FOR)
    assert signing(restarted) == following


async def test_the_schedule_counts_from_a_key_that_was_asked_for(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """H9: 90 days from its first use; the one that was to come next never signs."""
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR)
    [_, to_come] = await kids(store)
    asked_for = await sessions.rotate_keys()
    await a_while_later(sessions, clock, PUBLISHED_AHEAD)
    signs = []
    for _ in range(USED_FOR // DAY):
        signs.append(signing(sessions))
        await a_while_later(sessions, clock, DAY)

    assert set(signs) == {asked_for}
    assert signing(sessions) not in {to_come, asked_for}


async def test_a_change_of_algorithm_is_not_undone_by_the_schedule(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """The next key, which is of the former algorithm, is passed over for good."""
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR)

    changed = await an_engine(store, clock, signing_algorithm="EdDSA")
    algorithms = []
    for _ in range(2 * USED_FOR // DAY):
        await a_while_later(changed, clock, DAY)
        algorithms.append(changed.keyring.signing_key(changed.now()).algorithm)

    assert set(algorithms) == {"EdDSA"}


async def test_servers_of_two_algorithms_do_not_make_keys_in_turn(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """While servers are restarted with another setting, one by one, only a start changes it."""
    changed = await an_engine(store, clock, signing_algorithm="EdDSA")

    for _ in range(10):
        await a_while_later(sessions, clock, 60)
        await a_while_later(changed, clock, 60)

    assert len(await kids(store)) == 2


# ── retiring ────────────────────────────────────────────────────────────────────────────────────


async def test_what_a_retired_key_signed_is_refused_and_sessions_live_on(
    store: Store, sessions: Sessions
) -> None:
    """E2: a new key takes its place, and the next exchange brings a good token."""
    tokens = await sessions.create("ada")
    [leaked] = await kids(store)

    await sessions.retire_key(leaked)

    assert refuses(sessions, tokens.access_token)
    renewed = await sessions.refresh(tokens.refresh_token)
    assert accepts(sessions, renewed.access_token)
    assert leaked not in await kids(store)


async def test_a_new_key_is_known_everywhere_before_the_old_one_is_dropped(
    clock: Clock,
) -> None:
    """E2: it is added, waited for, used, and only then the other one goes."""
    meddling = Meddling(MemoryStore())
    steps = meddling.calls

    async def sleep(seconds: float) -> None:
        steps.append(f"sleep {seconds}")

    sessions = await an_engine(cast("Store", meddling), clock, sleep=sleep)
    steps.clear()

    await sessions.retire_key(signing(sessions))

    assert steps == [
        "signing_keys",
        "add_signing_key",
        f"sleep {KNOWN_AFTER}",
        "replace_signing_key",
        "drop_signing_keys",
        "signing_keys",
    ]


async def test_the_next_key_takes_over_from_a_retired_one_at_once(
    store: Store, clock: Clock
) -> None:
    """E2: every process knows it, and most copies of the JWK set, however far its time is."""

    async def sleep(seconds: float) -> None:
        pytest.fail(f"waits {seconds} s for what is known")

    sessions = await an_engine(store, clock, sleep=sleep)
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR + 60)
    [leaked, to_come] = await kids(store)

    await sessions.retire_key(leaked)

    assert (await kids(store), signing(sessions)) == ([to_come], to_come)


async def test_a_next_key_that_is_new_is_waited_for(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E2: it need not have been read by every process yet."""
    [leaked] = await kids(store)
    to_come = await sessions.rotate_keys()
    began = clock.now

    await sessions.retire_key(leaked)

    assert (await kids(store), clock.now - began) == ([to_come], KNOWN_AFTER)


async def test_who_follows_signs_with_the_next_key_as_soon_as_it_has_looked(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E2: its time of first use was changed, which another process notices too."""
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR + 60)
    other = await an_engine(store, clock)
    [leaked, to_come] = await kids(store)
    await sessions.retire_key(leaked)
    before = signing(other)

    await other._follow_keys()

    assert (before, signing(other)) == (leaked, to_come)


async def test_retiring_a_key_that_does_not_sign_changes_nothing_else(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """One that is to come, and one that only checks, are just dropped."""
    [older] = await kids(store)
    before = await sessions.create("ada")
    signs = await sessions.rotate_keys()
    clock.sleep(PUBLISHED_AHEAD)
    tokens = await sessions.create("ada")
    to_come = await sessions.rotate_keys()
    now = clock.now

    await sessions.retire_key(to_come)
    await sessions.retire_key(older)

    assert (await kids(store), signing(sessions)) == ([signs], signs)
    assert accepts(sessions, tokens.access_token)
    assert refuses(sessions, before.access_token)
    assert clock.now == now


async def test_an_unknown_key_cannot_be_retired(store: Store, sessions: Sessions) -> None:
    """What is retired is named, or nothing is done."""
    before = await store.signing_keys()

    with pytest.raises(SigningKeyUnknown):
        await sessions.retire_key("unknown")
    assert await store.signing_keys() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda foreign, kid: foreign.retire_key(kid),
        lambda foreign, _: foreign.rotate_keys(),
        lambda foreign, _: foreign.rotate_keys(at_once=True),
    ],
    ids=["retire", "rotate", "rotate at once"],
)
async def test_keys_are_not_changed_under_a_foreign_secret(
    store: Store,
    sessions: Sessions,
    clock: Clock,
    change: Callable[[Sessions, str], Awaitable[object]],
) -> None:
    """H9: the new key would be one that no server opens."""
    before = await store.signing_keys()
    foreign = engine(store, clock, secrets=[OTHER_SECRET])

    with pytest.raises(ConfigurationError, match="none of the secrets opens"):
        await change(foreign, before[0].kid)
    assert await store.signing_keys() == before


async def test_a_token_of_a_retired_key_is_not_handed_out_again(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: not even within the second that it was minted in."""
    monkeypatch.setattr("keyturn.sessions.KNOWN_AFTER", 0)
    turned = await sessions.refresh((await sessions.create("ada")).refresh_token)
    await sessions.rotate_keys(at_once=True)
    echoed = await sessions.refresh(turned.refresh_token)

    assert refuses(sessions, turned.access_token)
    assert not refuses(sessions, echoed.access_token)


async def test_rotating_at_once_retires_all_older_keys(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E2: also those that are to come; the new one signs, though it is to be used later."""
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR + 60)
    tokens = await sessions.create("ada")

    new = await sessions.rotate_keys(at_once=True)

    assert (await kids(store), signing(sessions)) == ([new], new)
    assert refuses(sessions, tokens.access_token)
    assert accepts(sessions, (await sessions.refresh(tokens.refresh_token)).access_token)


async def test_who_is_overtaken_while_changing_keys_is_told_to_try_again(clock: Clock) -> None:
    """A key of another process in between is no reason to do anything by halves."""
    memory = MemoryStore()
    meddling = Meddling(memory)
    sessions = await an_engine(cast("Store", meddling), clock)
    [leaked] = await kids(memory)
    meddling.before("add_signing_key", engine(memory, clock).rotate_keys)

    with pytest.raises(StoreUnavailable, match="changed meanwhile"):
        await sessions.retire_key(leaked)
    assert leaked in await kids(memory)
    await sessions.retire_key(leaked)
    assert leaked not in await kids(memory)


# ── damage ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_damaged_key_stays_in_use_where_it_is_known(
    store: Store, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """E4: a server that runs goes on signing and checking with it, and says what is wrong."""
    tokens = await sessions.create("ada")
    [kid] = await kids(store)
    await damage(store, kid)

    for _ in range(3):
        await sessions._follow_keys()

    assert accepts(sessions, tokens.access_token)
    assert accepts(sessions, (await sessions.create("ada")).access_token)
    [record] = caplog.records
    assert record.getMessage() == (
        "cannot use every signing key: secret: none of the secrets opens signing key"
        f" {kid}: restore the one it was sealed under; only if that is lost, or the key damaged:"
        f" `keyturn keys retire -- {kid}`"
    )
    assert record.exc_info is None


class YieldingStore(MemoryStore):
    """Whoever asks for the keys lets others ask first."""

    async def signing_keys(self) -> list[SealedKey]:
        await asyncio.sleep(0)
        return await super().signing_keys()


async def test_of_two_looks_at_once_none_brings_back_what_was_dropped(clock: Clock) -> None:
    """E2: that of the operator's own call, and the follower's, whom its change wakes."""
    store = YieldingStore()
    sessions, elsewhere = await an_engine(store, clock), await an_engine(store, clock)
    tokens = await sessions.create("ada")
    await elsewhere.retire_key(signing(sessions))
    await asyncio.gather(sessions._read_keys(), sessions._read_keys())

    assert refuses(sessions, tokens.access_token)
    assert [signing(sessions)] == await kids(store)


async def test_of_two_who_retire_each_others_heir_one_is_to_try_again(clock: Clock) -> None:
    """E2: else no key would be left, and what they retired would be accepted for a minute."""
    store = MemoryStore()
    sessions = await an_engine(store, clock)
    await a_while_later(sessions, clock, USED_FOR - PUBLISHED_FOR + 60)
    [signs, to_come] = await kids(store)
    meddling = Meddling(store)
    meddling.before("drop_signing_keys", lambda: sessions.retire_key(signs))
    other = await an_engine(cast("Store", meddling), clock)

    with pytest.raises(StoreUnavailable, match="changed meanwhile"):
        await other.retire_key(to_come)

    assert await kids(store) == [to_come]
    await other.retire_key(to_come)
    assert len(await kids(store)) == 1
    assert to_come not in await kids(store)


async def test_who_rotates_at_once_and_is_overtaken_is_to_try_again(clock: Clock) -> None:
    """E2: somebody has retired the new key before the old ones were dropped."""
    store = MemoryStore()
    sessions = await an_engine(store, clock)
    before = await kids(store)
    meddling = Meddling(store)
    other = await an_engine(cast("Store", meddling), clock)

    async def retire_newest() -> None:
        await sessions.retire_key((await kids(store))[-1])

    meddling.after("replace_signing_key", retire_newest)

    with pytest.raises(StoreUnavailable, match="changed meanwhile"):
        await other.rotate_keys(at_once=True)
    assert (await kids(store))[:-1] == before


async def test_beside_a_damaged_key_changes_of_others_are_followed(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: a new one is known, and one that was retired is refused."""
    [leaked] = await kids(store)
    tokens = await sessions.create("ada")
    damaged = await sessions.rotate_keys()
    running = await an_engine(store, clock)
    await sessions.rotate_keys()
    [*_, added] = await kids(store)
    await damage(store, damaged)
    await store.drop_signing_keys([leaked], beside=damaged)

    await running._follow_keys()

    assert [key.kid for key in running.keyring.keys] == [damaged, added]
    assert refuses(running, tokens.access_token)


async def test_a_key_that_cannot_be_opened_and_was_never_known_makes_none_forgotten(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: it may be the one that is missing, or be sealed under a secret not known here yet."""
    tokens = await sessions.create("ada")
    [kid] = await kids(store)
    elsewhere = engine(store, clock, secrets=[OTHER_SECRET, SECRET])
    await elsewhere.rotate_keys(at_once=True)

    await sessions._follow_keys()

    assert kid not in await kids(store)
    assert accepts(sessions, tokens.access_token)
    assert signing(sessions) == kid


async def test_beside_a_damaged_key_none_is_made_or_dropped(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: nobody knows what it was for; repaired, or retired, it is all made up for."""
    [kid] = await kids(store)
    await damage(store, kid)
    await a_while_later(sessions, clock, USED_FOR)
    meanwhile = await kids(store)

    await store.drop_signing_keys([kid], beside=kid)
    await sessions._reload()

    assert meanwhile == [kid]
    assert len(await kids(store)) == 1
    assert signing(sessions) not in meanwhile


@pytest.mark.parametrize(
    "change",
    [{"sealed": DAMAGED}, {"sealed": b""}, {"use_from": 0}],
    ids=["its seal is wrong", "nothing is left of its seal", "its time was changed"],
)
async def test_a_damaged_key_is_told_at_start(
    store: Store, sessions: Sessions, clock: Clock, change: dict[str, Any]
) -> None:
    """E4: by name, before anything is added."""
    [kid] = await kids(store)
    await damage(store, kid, **change)
    damaged = await store.signing_keys()
    clock.sleep(USED_FOR)

    with pytest.raises(ConfigurationError, match=kid):
        await engine(store, clock).load()
    assert await store.signing_keys() == damaged


async def test_a_start_does_not_go_on_with_a_key_that_was_damaged_meanwhile(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: it has no older reading to go on with."""
    [kid] = await kids(store)
    meddling = Meddling(store)
    meddling.after("signing_keys", lambda: asyncio.sleep(0))
    meddling.after("signing_keys", lambda: damage(store, kid))

    with pytest.raises(ConfigurationError, match=kid):
        await engine(cast("Store", meddling), clock).load()


async def test_a_damaged_key_among_others_can_be_retired(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: that is how a store gets well again."""
    await sessions.rotate_keys()
    [damaged, other] = await kids(store)
    await damage(store, damaged)

    await engine(store, clock).retire_key(damaged)

    restarted = await an_engine(store, clock)
    assert [key.kid for key in restarted.keyring.keys] == [other]


async def test_the_only_key_can_be_retired_though_it_is_damaged(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: by whoever knows that; running servers follow, and sessions live on."""
    tokens = await sessions.create("ada")
    [damaged] = await kids(store)
    await damage(store, damaged)

    await engine(store, clock).retire_key(damaged, lost=True)
    await sessions._follow_keys()

    restarted = await an_engine(store, clock)
    assert [signing(sessions)] == [signing(restarted)] == await kids(store)
    assert refuses(sessions, tokens.access_token)
    assert accepts(sessions, (await sessions.refresh(tokens.refresh_token)).access_token)


@pytest.mark.parametrize("first", [0, 1], ids=["the one that signs", "the one to come"])
async def test_keys_whose_secret_is_lost_are_retired_one_by_one(
    store: Store, sessions: Sessions, clock: Clock, first: int
) -> None:
    """H9: each is named; at the end there is one that the new secret opens."""
    await sessions.rotate_keys()
    order = await kids(store)
    order = [order[first], order[1 - first]]
    operator = engine(store, clock, secrets=[OTHER_SECRET])

    await operator.retire_key(order[0], lost=True)
    between = await kids(store)
    await operator.retire_key(order[1], lost=True)

    restarted = await an_engine(store, clock, secrets=[OTHER_SECRET])
    assert order[0] not in between
    assert order[1] in between
    assert [signing(restarted)] == await kids(store)


async def test_a_key_that_was_retired_under_a_wrong_secret_by_mistake_costs_no_session(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """H9: servers go on with the key as they know it; retiring what was made in its place under
    the right secret puts all of it right.
    """
    tokens = await sessions.create("ada")
    [kid] = await kids(store)
    await engine(store, clock, secrets=[OTHER_SECRET]).retire_key(kid, lost=True)
    [foreign] = await kids(store)
    await a_while_later(sessions, clock, 60)
    meanwhile = (signing(sessions), await kids(store))
    accepted = accepts(sessions, tokens.access_token)

    await engine(store, clock).retire_key(foreign, lost=True)
    await sessions._follow_keys()

    assert (meanwhile, accepted) == ((kid, [foreign]), True)
    assert [signing(sessions)] == await kids(store)
    assert accepts(sessions, (await sessions.refresh(tokens.refresh_token)).access_token)


async def test_a_key_that_can_be_opened_is_not_lost(
    store: Store, sessions: Sessions, clock: Clock
) -> None:
    """E4: whatever is said of it, another that cannot be is in the way as ever."""
    await sessions.rotate_keys()
    [kid, damaged] = await kids(store)
    await damage(store, damaged)

    with pytest.raises(ConfigurationError, match=damaged):
        await engine(store, clock).retire_key(kid, lost=True)
    assert await kids(store) == [kid, damaged]


async def test_where_all_keys_are_gone_those_known_are_used_until_there_is_another(
    store: Store, sessions: Sessions
) -> None:
    """E4: somebody has emptied the table; within a minute a server adds a key."""
    tokens = await sessions.create("ada")
    await store.drop_signing_keys([signing(sessions)], beside=signing(sessions))

    await sessions._follow_keys()

    assert accepts(sessions, (await sessions.refresh(tokens.refresh_token)).access_token)
    await sessions._reload()
    assert [signing(sessions)] == await kids(store)


async def test_whatever_is_wrong_with_keys_cutoffs_are_followed(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H4: a store that cannot be written to for a while, just when the next key is due."""
    meddling = Meddling(MemoryStore())
    sessions = await an_engine(cast("Store", meddling), clock)
    clock.sleep(USED_FOR)

    async def fail() -> None:
        raise StoreUnavailable("The disk is full")

    meddling.before("add_signing_key", fail)
    await sessions._reload()

    assert sessions.staleness == 0
    assert caplog.messages == ["cannot follow the signing keys: The disk is full"]
    await sessions._reload()
    assert len(sessions.keyring.keys) == 2


def test_an_unknown_key_is_an_error_of_ours() -> None:
    """With a code to rely on, as all of them."""
    assert issubclass(SigningKeyUnknown, KeyturnError)
    assert SigningKeyUnknown.code == "signing_key_unknown"
