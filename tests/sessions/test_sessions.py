"""The engine: what it promises beyond the rules of the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from keyturn import sessions as sessions_module
from keyturn.core.errors import (
    AccessTokenInvalid,
    AccessTokenRevoked,
    ClaimsRefused,
    ConfigurationError,
    CutoffsStale,
    RefreshSuperseded,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionExpired,
    SessionRevoked,
    SessionUnknown,
    SignInRaced,
    StoreUnavailable,
    Unavailable,
)
from keyturn.core.model import Claims, Device, EndReason, EventKind, Policy, Session, Tokens
from keyturn.core.refresh_token import parse
from keyturn.core.server_secret import ServerSecret
from keyturn.sessions import Sessions
from keyturn.signing_keys import PUBLISHED_AHEAD
from keyturn.stores.base import Store
from keyturn.stores.memory import MemoryStore
from tests.support import (
    OTHER_SECRET,
    SECRET,
    Clock,
    Meddling,
    engine,
    loaded,
    restore,
    state_of,
)

STRICT = Policy(retry_window=0, recover=False)
PAST_WINDOW = 31
HOUR = 3600


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meddling() -> Meddling:
    return Meddling(MemoryStore())


@pytest.fixture
def store(meddling: Meddling) -> Store:
    return cast("Store", meddling)


@pytest.fixture
async def sessions(store: Store, clock: Clock) -> AsyncIterator[Sessions]:
    async with loaded(store, clock) as sessions:
        yield sessions


def generation(tokens: Tokens, sessions: Sessions) -> int:
    return parse(sessions.secrets, tokens.refresh_token).generation


def accepts(sessions: Sessions, access_token: str) -> bool:
    return sessions.verify(access_token).sid != ""


def same_id(one: bytes, other: bytes) -> bool:
    return ServerSecret(one).key_id == ServerSecret(other).key_id


async def exchanges(sessions: Sessions, token: str) -> bool:
    return (await sessions.refresh(token)).refresh_token != ""


# ── sign in ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_signed_in_is_what_the_access_token_says(sessions: Sessions) -> None:
    """Every claim given at sign-in comes back from the access token."""
    claims = Claims(
        username="ada",
        email="ada@example.com",
        fullname="Ada L",
        permissions=("read", "write"),
        extra={"tenant": {"id": 7}},
    )

    tokens = await sessions.create("user-1", claims)

    said = sessions.verify(tokens.access_token)
    assert (said.user_id, said.claims, said.sid) == ("user-1", claims, tokens.session.sid)


async def test_a_new_sid_and_secret_for_every_sign_in(sessions: Sessions) -> None:
    """G1: no identifier is ever used for two sign-ins."""
    first = await sessions.create("ada")
    second = await sessions.create("ada", replaces=first.refresh_token)

    assert first.session.sid != second.session.sid
    assert first.session.secret != second.session.secret


async def test_signing_in_again_ends_the_session_that_it_replaces(sessions: Sessions) -> None:
    """G1: the session that the same client held before is over, with the reason told."""
    older = await sessions.create("ada")

    await sessions.create("ada", replaces=older.refresh_token)

    with pytest.raises(SessionRevoked) as refusal:
        await sessions.refresh(older.refresh_token)
    assert refusal.value.reason == "replaced"


async def test_access_tokens_of_a_replaced_session_are_void_at_once(sessions: Sessions) -> None:
    """D12: the process that replaces it does not wait to hear of it from the store."""
    older = await sessions.create("ada")

    await sessions.create("ada", replaces=older.refresh_token)

    with pytest.raises(AccessTokenRevoked):
        sessions.verify(older.access_token)


async def test_nonsense_in_place_of_an_older_token_does_not_matter(sessions: Sessions) -> None:
    """C10: what is not ours replaces nothing and is no reason to refuse a sign-in."""
    tokens = await sessions.create("ada", replaces="ktr_" + "A" * 71)

    assert sessions.verify(tokens.access_token).user_id == "ada"


async def test_a_sign_in_that_races_a_change_of_the_user_is_refused(sessions: Sessions) -> None:
    """C7: what was read before the user's sessions were ended begins none."""
    epoch = await sessions.user_epoch("ada")
    await sessions.revoke_all("ada")

    with pytest.raises(SignInRaced):
        await sessions.create("ada", epoch=epoch)
    assert await sessions.list("ada") == []


async def test_claims_too_large_for_a_cookie_are_refused_before_a_row_is_written(
    sessions: Sessions, meddling: Meddling
) -> None:
    """A4: nothing is begun whose access token a browser would drop."""
    with pytest.raises(ClaimsRefused):
        await sessions.create("ada", Claims(extra={"x": "y" * 2100}))
    assert "add" not in meddling.calls


@pytest.mark.parametrize("user_id", ["", "x" * 256, "a\0b", "\ud800", cast("str", None)])
async def test_a_user_id_that_no_store_could_hold_is_refused(
    sessions: Sessions, user_id: str
) -> None:
    """Bad input gets a clear error, whatever is asked of it."""
    for attempt in (
        sessions.create(user_id),
        sessions.user_epoch(user_id),
        sessions.revoke_all(user_id),
        sessions.list(user_id),
        sessions.events(user_id, limit=1),
    ):
        with pytest.raises(ClaimsRefused, match="user_id"):
            await attempt


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
        ("a\0b\x1b[31mc\ud800\u202e", "ab[31mc"),
        ("x" * 10_000, "x" * 256),
    ],
)
async def test_no_sign_in_is_refused_for_what_a_client_says_of_itself(
    sessions: Sessions, told: str, kept: str
) -> None:
    """H3: of any text as much is kept as every store can hold, and every list show."""
    tokens = await sessions.create("ada", device=Device(user_agent=told, address=told))

    assert tokens.session.device == Device(user_agent=kept, address=kept)


@pytest.mark.parametrize(
    "device",
    [
        Device(user_agent=cast("str", None)),
        Device(address=cast("str", b"192.0.2.1")),
        cast("Device", "curl"),
    ],
)
async def test_a_device_that_nobody_could_read_again_begins_no_session(
    sessions: Sessions, meddling: Meddling, device: Device
) -> None:
    """As where a framework has None for a header that was not sent."""
    with pytest.raises(TypeError, match="a Device has text"):
        await sessions.create("ada", device=device)
    assert "add" not in meddling.calls


async def test_whatever_is_true_or_false_says_whether_to_remember(sessions: Sessions) -> None:
    """A row that held something else could not be read again."""
    asked = cast("list[bool]", [2, None, "on"])

    kept = [(await sessions.create("ada", remember=each)).session.remember for each in asked]

    assert kept == [True, False, True]


async def test_the_least_recently_used_session_makes_room(store: Store, clock: Clock) -> None:
    """G3: at the limit, a further sign-in ends the session that was used the longest ago."""
    async with loaded(store, clock, policy=Policy(max_sessions=2)) as sessions:
        first = await sessions.create("ada")
        clock.sleep(100)
        second = await sessions.create("ada")
        clock.sleep(100)
        await sessions.refresh(first.refresh_token)

        await sessions.create("ada")

        with pytest.raises(SessionRevoked) as refusal:
            await sessions.refresh(second.refresh_token)
        assert refusal.value.reason == "evicted"


# ── exchange ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", [None, 7, b"ktr_", [], {}, ()], ids=repr)
async def test_what_is_no_text_is_no_token(sessions: Sessions, token: Any) -> None:
    """C10: as where an application passes on what was in a body."""
    with pytest.raises(AccessTokenInvalid):
        sessions.verify(token)
    with pytest.raises(AccessTokenInvalid):
        sessions.read(token)
    with pytest.raises(RefreshTokenInvalid):
        await sessions.refresh(token)
    with pytest.raises(SessionUnknown):
        await sessions.revoke(token)
    assert await sessions.logout(token) == []


async def test_exchanges_of_one_token_share_one_flight(
    sessions: Sessions, meddling: Meddling
) -> None:
    """A hundred at once cost one read and one write, and get one answer."""
    tokens = await sessions.create("ada")
    meddling.calls.clear()

    answers = await asyncio.gather(*(sessions.refresh(tokens.refresh_token) for _ in range(100)))

    assert len({answer.refresh_token for answer in answers}) == 1
    assert meddling.calls == ["get", "swap"]


async def test_exchanges_at_once_share_statements(sessions: Sessions, meddling: Meddling) -> None:
    """One that is alone waits for nobody; of many the rows are read, and written, together."""
    pairs = [await sessions.create(f"user-{number}") for number in range(50)]
    meddling.calls.clear()
    await sessions.refresh(pairs.pop().refresh_token)
    alone = list(meddling.calls)
    meddling.calls.clear()
    await asyncio.gather(*(sessions.refresh(pair.refresh_token) for pair in pairs))

    assert alone == ["get", "swap"]
    assert meddling.calls == ["get", "swap"]


class OneByOne(MemoryStore):
    """Better asked for one session at a time, three times at once."""

    batch = 1
    lanes = 3

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[int] = [0]
        self.sizes: set[int] = set()

    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        self.sizes.add(len(sids))
        self.under_way.append(self.under_way[-1] + 1)
        await asyncio.sleep(0)
        self.under_way.append(self.under_way[-1] - 1)
        return await super().get(sids)


async def test_a_store_is_asked_for_as_many_sessions_as_it_likes(clock: Clock) -> None:
    """So at once, and so often."""
    async with loaded(store := OneByOne(), clock) as sessions:
        pairs = [await sessions.create(f"user-{number}") for number in range(20)]

        await asyncio.gather(*(sessions.refresh(pair.refresh_token) for pair in pairs))

    assert (store.sizes, max(store.under_way)) == ({1}, 3)


async def test_a_caller_who_leaves_does_not_stop_the_flight(
    sessions: Sessions, meddling: Meddling
) -> None:
    """A cancelled request takes nothing from those who wait for the same answer."""
    tokens = await sessions.create("ada")
    leaving = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    staying = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    await asyncio.sleep(0)
    leaving.cancel()

    answer = await staying

    assert generation(answer, sessions) == 1
    assert leaving.cancelled()


async def test_a_refused_flight_that_nobody_waits_for_is_not_an_unhandled_error(
    sessions: Sessions, clock: Clock
) -> None:
    """Nothing is written to the log of the loop when all callers have gone."""
    tokens = await sessions.create("ada")
    clock.sleep(PAST_WINDOW * 86_400)
    gone = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    await asyncio.sleep(0)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await sessions.close()

    assert complaints == []


async def test_who_repeats_an_exchange_within_a_second_is_handed_the_same_access_token(
    sessions: Sessions, clock: Clock
) -> None:
    """D5: nothing in it would differ but its id, and to sign is what costs most."""
    parent = (await sessions.create("ada")).refresh_token
    clock.sleep(PAST_WINDOW)
    turned = await sessions.refresh(parent)
    replayed, echoed = await sessions.refresh(parent), await sessions.refresh(turned.refresh_token)
    clock.sleep(1)
    later = await sessions.refresh(turned.refresh_token)

    assert {replayed.access_token, echoed.access_token} == {turned.access_token}
    assert later.access_token != turned.access_token
    assert echoed.expires_in == turned.expires_in


async def test_every_turn_brings_an_access_token_of_its_own(sessions: Sessions) -> None:
    """D5: also within the second of the one before."""
    begun = await sessions.create("ada")
    turned = await sessions.refresh(begun.refresh_token)

    assert turned.access_token != begun.access_token


async def test_few_access_tokens_are_kept_to_be_handed_out_again(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are asked for within a second, and none of an earlier one."""
    monkeypatch.setattr(sessions_module, "_MOST_JUST_MINTED", 2)
    pairs, kept = [], []
    for seconds in (0, 0, 0, 1):
        clock.sleep(seconds)
        pairs.append(await sessions.create("ada"))
        kept.append(len(sessions._just_minted))

    assert len({pair.access_token for pair in pairs}) == 4
    assert kept == [1, 2, 1, 1]


async def test_who_loses_a_race_reads_and_judges_again(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """C4: of two processes with one token, one turns and the other gets the same child."""
    async with loaded(store, clock) as one, loaded(store, clock) as other:
        tokens = await one.create("ada")
        winner: list[Tokens] = []

        async def faster() -> None:
            winner.append(await other.refresh(tokens.refresh_token))

        meddling.before("swap", faster)

        loser = await one.refresh(tokens.refresh_token)

        assert loser.refresh_token == winner[0].refresh_token
        assert generation(loser, one) == 1


async def test_a_race_that_is_lost_for_ever_is_our_fault(
    sessions: Sessions, meddling: Meddling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: a session changed faster than it can be followed is 503, never a refusal."""
    tokens = await sessions.create("ada")

    async def lose(swaps: Any) -> list[bool]:
        return [False] * len(swaps)

    monkeypatch.setattr(sessions.store, "swap", lose)

    with pytest.raises(StoreUnavailable):
        await sessions.refresh(tokens.refresh_token)


async def test_sessions_used_since_a_time_end(sessions: Sessions, clock: Clock) -> None:
    """G5: in batches, however many there are; with the cutoffs of each."""
    asleep = await sessions.create("ada")
    woken = await sessions.create("ada")
    clock.sleep(PAST_WINDOW)
    since = sessions.now()
    renewed = await sessions.refresh(woken.refresh_token)
    for number in range(600):
        await sessions.create(f"user-{number}")
    ended = await sessions.revoke_since(since)

    assert ended == 601
    assert sessions.verify(asleep.access_token).user_id == "ada"
    with pytest.raises(AccessTokenRevoked):
        sessions.verify(renewed.access_token)
    with pytest.raises(SessionRevoked):
        await sessions.refresh(renewed.refresh_token)


async def test_two_callers_a_minute_apart_are_seen(sessions: Sessions, clock: Clock) -> None:
    """C3: a superseded token that comes back outside the window ends its session and no other."""
    stolen = await sessions.create("ada")
    bystander = await sessions.create("ada")
    clock.sleep(PAST_WINDOW)
    held = await sessions.refresh(stolen.refresh_token)
    clock.sleep(PAST_WINDOW)
    await sessions.refresh(held.refresh_token)
    clock.sleep(PAST_WINDOW)

    with pytest.raises(RefreshTokenReused):
        await sessions.refresh(stolen.refresh_token)
    with pytest.raises(SessionRevoked) as refusal:
        await sessions.refresh(held.refresh_token)
    assert refusal.value.reason == "reuse_detected"
    assert await exchanges(sessions, bystander.refresh_token)


async def test_a_lost_answer_costs_nothing_whenever_the_client_comes_back(
    sessions: Sessions, clock: Clock
) -> None:
    """The parent is good until a child of it was used, and the recovery is told as an event."""
    tokens = await sessions.create("ada")
    await sessions.refresh(tokens.refresh_token)
    clock.sleep(86_400)

    again = await sessions.refresh(tokens.refresh_token)

    assert generation(again, sessions) == 2
    events = await sessions.store.events(sid=tokens.session.sid, limit=1)
    assert events[0].kind is EventKind.RECOVERED


async def test_a_late_token_is_told_to_try_again_and_loses_nothing(
    sessions: Sessions, clock: Clock
) -> None:
    """C11: a request overtaken by the turn that superseded it is no thief."""
    first = await sessions.create("ada")
    clock.sleep(PAST_WINDOW)
    second = await sessions.refresh(first.refresh_token)
    clock.sleep(PAST_WINDOW)
    third = await sessions.refresh(second.refresh_token)

    with pytest.raises(RefreshSuperseded):
        await sessions.refresh(first.refresh_token)
    assert await exchanges(sessions, third.refresh_token)


async def test_a_store_that_fell_back_takes_up_where_its_clients_are(
    sessions: Sessions, clock: Clock
) -> None:
    """A token newer than its row is echoed, and the row follows it."""
    store = cast("Any", sessions.store)._store  # the one under the meddling
    tokens = await sessions.create("ada")
    backup = state_of(store)
    newer = await sessions.refresh(tokens.refresh_token)
    restore(store, backup)

    resumed = await sessions.refresh(newer.refresh_token)

    assert resumed.refresh_token == newer.refresh_token
    assert (await store.get([tokens.session.sid]))[tokens.session.sid].generation == 1


async def test_strict_single_use_survives_an_answer_lost_on_the_way_from_the_store(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """Where a second try would be reuse, the row itself is asked whether the first one won."""

    async def lose_the_answer() -> None:
        raise StoreUnavailable

    async with loaded(store, clock, policy=STRICT) as sessions:
        tokens = await sessions.create("ada")
        meddling.after("swap", lose_the_answer)

        answer = await sessions.refresh(tokens.refresh_token)

        assert generation(answer, sessions) == 1


async def test_strict_single_use_does_not_claim_a_turn_that_never_reached_the_store(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """C12: a write that was not done is our fault, and the token stays good."""

    async def fail() -> None:
        raise StoreUnavailable

    async with loaded(store, clock, policy=STRICT) as sessions:
        tokens = await sessions.create("ada")
        meddling.before("swap", fail)

        with pytest.raises(StoreUnavailable):
            await sessions.refresh(tokens.refresh_token)
        assert generation(await sessions.refresh(tokens.refresh_token), sessions) == 1


async def test_a_token_made_with_the_server_secret_alone_is_refused_and_changes_nothing(
    sessions: Sessions,
) -> None:
    """C2, C10: without the session's secret a good tag proves nothing, and ends nothing."""
    from keyturn.core.refresh_token import mint

    tokens = await sessions.create("ada")
    forged = mint(sessions.secrets, tokens.session.sid, b"x" * 32, 0)

    with pytest.raises(RefreshTokenInvalid):
        await sessions.refresh(forged)
    assert await exchanges(sessions, tokens.refresh_token)


async def test_a_forged_token_costs_no_look_up(sessions: Sessions, meddling: Meddling) -> None:
    """A token without a good tag is refused before any I/O."""
    meddling.calls.clear()

    with pytest.raises(RefreshTokenInvalid):
        await sessions.refresh("ktr_" + "A" * 71)
    assert meddling.calls == []


async def test_an_access_token_is_no_refresh_token_and_ends_nothing(sessions: Sessions) -> None:
    """D14: presented for exchange it is refused, and the session lives on."""
    tokens = await sessions.create("ada")

    with pytest.raises(RefreshTokenInvalid):
        await sessions.refresh(tokens.access_token)
    assert await exchanges(sessions, tokens.refresh_token)


async def test_a_session_used_while_it_was_judged_idle_lives_on(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """C12: of two processes at the idle end, the one that was in time has won."""
    ahead = Clock(clock.now)
    async with loaded(store, clock) as one, loaded(store, ahead) as other:
        tokens = await one.create("ada")
        clock.sleep(30 * 86_400 - 1)
        ahead.sleep(30 * 86_400)
        in_time: list[Tokens] = []

        async def use() -> None:
            in_time.append(await one.refresh(tokens.refresh_token))

        meddling.before("end", use)

        answer = await other.refresh(tokens.refresh_token)

        assert answer.refresh_token == in_time[0].refresh_token
        clock.sleep(PAST_WINDOW)
        assert await exchanges(one, answer.refresh_token)


async def test_an_end_by_reuse_that_was_overtaken_is_judged_again(
    sessions: Sessions, store: Store, meddling: Meddling, clock: Clock
) -> None:
    """C3: the copy is seen all the same, in the row as it is by then."""
    stolen = await sessions.create("ada")
    clock.sleep(PAST_WINDOW)
    held = await sessions.refresh(stolen.refresh_token)
    clock.sleep(PAST_WINDOW)
    held = await sessions.refresh(held.refresh_token)
    clock.sleep(PAST_WINDOW)
    async with loaded(store, clock) as other:
        meddling.before("end", lambda: other.refresh(held.refresh_token))

        with pytest.raises(RefreshTokenReused):
            await sessions.refresh(stolen.refresh_token)

    assert meddling.calls.count("end") == 2
    with pytest.raises(SessionRevoked):
        await sessions.refresh(held.refresh_token)


@pytest.mark.parametrize(("seconds", "reason"), [(30 * 86_400, "idle"), (180 * 86_400, "absolute")])
async def test_a_session_past_its_time_says_why(
    sessions: Sessions, clock: Clock, seconds: int, reason: str
) -> None:
    """C5, G2: the timeouts are kept on the server, and the end is written down."""
    tokens = await sessions.create("ada")
    clock.sleep(seconds)

    with pytest.raises(SessionExpired) as refusal:
        await sessions.refresh(tokens.refresh_token)
    rows = await sessions.store.get([tokens.session.sid])
    assert refusal.value.reason == reason
    assert rows[tokens.session.sid].end_reason == reason


async def test_no_access_token_outlives_the_absolute_end(store: Store, clock: Clock) -> None:
    """D12: the last access token of a session ends with it."""
    policy = Policy(idle_timeout=2000, absolute_lifetime=2000)
    async with loaded(store, clock, policy=policy) as sessions:
        tokens = await sessions.create("ada")
        clock.sleep(1900)

        last = await sessions.refresh(tokens.refresh_token)

        assert last.expires_in == 100
        assert sessions.verify(last.access_token).expires_at == tokens.session.created_at + 2000


async def test_the_time_to_refresh_is_spread(sessions: Sessions, clock: Clock) -> None:
    """Nobody can tell when a client will come: between 0.5 and 0.9 of the token's life."""
    times = {(await sessions.create("ada")).refresh_at - sessions.now() for _ in range(100)}

    assert len(times) > 20
    assert min(times) >= 300
    assert max(times) <= 540


# ── revocation ──────────────────────────────────────────────────────────────────────────────────


async def test_a_revoked_session_is_refused_at_once_and_checking_asks_nobody(
    sessions: Sessions, meddling: Meddling
) -> None:
    """D12: in the process that ends it, an access token dies with the acknowledgement."""
    tokens = await sessions.create("ada")
    await sessions.revoke(tokens.session.sid)
    meddling.calls.clear()

    with pytest.raises(AccessTokenRevoked):
        sessions.verify(tokens.access_token)
    assert meddling.calls == []


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_logging_out_with_either_token_ends_the_session(
    sessions: Sessions, kind: str
) -> None:
    """C7: both kinds name their session."""
    tokens = await sessions.create("ada")

    await sessions.logout(getattr(tokens, kind))

    with pytest.raises(SessionRevoked) as refusal:
        await sessions.refresh(tokens.refresh_token)
    assert refusal.value.reason == "logged_out"


async def test_logging_out_twice_or_with_nonsense_is_fine(sessions: Sessions) -> None:
    """Logging out is idempotent, and what names nothing is passed over."""
    tokens = await sessions.create("ada")

    await sessions.logout(tokens.refresh_token, "nonsense", "ktr_nonsense", "")
    await sessions.logout(tokens.refresh_token, tokens.access_token)

    events = await sessions.store.events(sid=tokens.session.sid, limit=10)
    assert [event.kind for event in events] == [EventKind.ENDED, EventKind.SIGNED_IN]


async def test_logging_out_tells_what_it_ended(sessions: Sessions) -> None:
    """Each session once, and none that had ended already."""
    one, two, ended = [await sessions.create("ada") for _ in range(3)]
    await sessions.revoke(ended.session.sid)

    told = await sessions.logout(
        one.access_token, two.refresh_token, one.refresh_token, ended.refresh_token, "nonsense"
    )

    assert sorted(told) == sorted([one.session.sid, two.session.sid])
    assert await sessions.logout(one.refresh_token) == []


async def test_what_has_ended_is_ended_no_more(clock: Clock) -> None:
    """A token of it that comes a thousand times writes nothing, and waits for no writer."""
    store = Meddling(MemoryStore())
    async with loaded(store, clock) as sessions:
        ended = await sessions.create("ada")
        told = [await sessions.revoke(ended.session.sid) for _ in range(2)]
        for token in (ended.access_token, ended.refresh_token):
            await sessions.logout(token)

    assert told == [True, False]
    assert store.calls.count("end") == 1


async def test_an_expired_access_token_still_logs_out_while_cutoffs_are_kept(
    sessions: Sessions, clock: Clock
) -> None:
    """Who logs out a little late is logged out; a token found years later ends nothing."""
    late, found = await sessions.create("ada"), await sessions.create("ada")
    clock.sleep(sessions.policy.access_ttl + 1)
    await sessions.logout(late.access_token)
    clock.sleep(sessions.cutoff_ttl)

    await sessions.logout(found.access_token)

    assert [session.sid for session in await sessions.list("ada")] == [found.session.sid]


@pytest.mark.parametrize("sid", ["", "x", "../../etc", "\0", "\ud800", "A" * 22, "é" * 22])
async def test_an_unknown_session_is_unknown(sessions: Sessions, sid: str) -> None:
    """G9: whatever comes in a path names no session unless there is one."""
    with pytest.raises(SessionUnknown):
        await sessions.revoke(sid)


async def test_nobody_ends_a_session_of_another_user(sessions: Sessions) -> None:
    """G9: it is as unknown as one that does not exist."""
    tokens = await sessions.create("ada")

    with pytest.raises(SessionUnknown):
        await sessions.revoke(tokens.session.sid, user_id="bob")
    assert accepts(sessions, tokens.access_token)


async def test_all_others_can_be_ended(sessions: Sessions) -> None:
    """G4: the session that asks stays, all others of the user end, nobody else's does."""
    mine, lost, stranger = [await sessions.create(user) for user in ("ada", "ada", "bob")]

    ended = await sessions.revoke_all("ada", keep=mine.session.sid)

    assert ended == 1
    assert accepts(sessions, mine.access_token)
    assert accepts(sessions, stranger.access_token)
    with pytest.raises(AccessTokenRevoked):
        sessions.verify(lost.access_token)


async def test_who_ends_all_others_again_and_again_shares_a_call(
    sessions: Sessions, meddling: Meddling
) -> None:
    """H6: however many ask while one call is under way, one more is made for them, not one each
    that would wait for the same row. What keeps another session is another call.
    """
    mine, other = await sessions.create("ada"), await sessions.create("ada")
    asked: list[asyncio.Task[int]] = []

    def ask(keep: Tokens) -> None:
        asked.append(asyncio.create_task(sessions.revoke_all("ada", keep=keep.session.sid)))

    async def ask_again() -> None:
        for _ in range(50):
            ask(mine)
        ask(other)
        await asyncio.sleep(0)

    meddling.before("end_user", ask_again)

    ended = await sessions.revoke_all("ada", keep=mine.session.sid)

    assert (ended, await asyncio.gather(*asked)) == (1, [0] * 50 + [1])
    assert meddling.calls.count("end_user") == 3


async def test_a_call_that_has_begun_is_shared_by_nobody(
    sessions: Sessions, meddling: Meddling
) -> None:
    """C7: who signed in after its transaction, but before it was acknowledged, would escape from
    whoever asked after that.
    """
    asked: list[asyncio.Task[int]] = []

    async def sign_in_and_ask_again() -> None:
        await sessions.create("ada")
        asked.append(asyncio.create_task(sessions.revoke_all("ada")))
        await asyncio.sleep(0)

    meddling.after("end_user", sign_in_and_ask_again)

    first = await sessions.revoke_all("ada")

    assert (first, await asyncio.gather(*asked)) == (0, [1])
    assert await sessions.list("ada") == []


async def test_an_end_of_all_that_waited_too_long_is_refused_and_may_be_asked_for_again(
    sessions: Sessions, meddling: Meddling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H6: those who come later are not told what came of it."""
    monkeypatch.setattr(sessions._ends, "_patience", 0)
    await sessions.create("ada")

    async def ask_in_vain() -> None:
        with pytest.raises(StoreUnavailable, match="Too much is waiting"):
            await sessions.revoke_all("ada")

    meddling.before("end_user", ask_in_vain)

    first = await sessions.revoke_all("ada")

    assert [first, await sessions.revoke_all("ada")] == [1, 0]


async def test_the_emergency_cutoff_voids_all_and_logs_nobody_out(sessions: Sessions) -> None:
    """Tokens issued in the very second are void, and the next exchange gives a good one."""
    tokens = await sessions.create("ada")

    await sessions.void_all()

    with pytest.raises(AccessTokenRevoked):
        sessions.verify(tokens.access_token)
    assert accepts(sessions, (await sessions.refresh(tokens.refresh_token)).access_token)


async def test_no_token_lives_longer_by_an_emergency_cutoff_of_a_clock_ahead(
    store: Store, clock: Clock
) -> None:
    """D12: a little ahead takes from a token's life; beyond that it is 503, and begins no row."""
    ahead = Clock(clock.now + 100)
    async with loaded(store, clock) as sessions, loaded(store, ahead) as other:
        tokens = await sessions.create("ada")
        await other.void_all()
        await sessions.catch_up()

        fresh = await sessions.refresh(tokens.refresh_token)

        assert sessions.verify(fresh.access_token).expires_at == clock.now + fresh.expires_in
        assert fresh.expires_in == sessions.policy.access_ttl
        ahead.sleep(86_400)
        await other.void_all()
        await sessions.catch_up()
        with pytest.raises(Unavailable):
            await sessions.refresh(tokens.refresh_token)
        with pytest.raises(Unavailable):
            await sessions.create("bob")
        assert await sessions.list("bob") == []


async def test_a_cutoff_outlives_the_longest_token_whoever_records_it(
    store: Store, clock: Clock
) -> None:
    """D12: ended by a process that gives a short life, a token of a long one never comes back."""
    long, short = Policy(access_ttl=3600), Policy(access_ttl=60)
    async with (
        loaded(store, clock, policy=long) as giving,
        loaded(store, clock, policy=short) as ending,
    ):
        tokens = await giving.create("ada")
        await ending.logout(tokens.access_token)
        await giving.catch_up()
        clock.sleep(3599)
        for each in (giving, ending):
            await each._reload()

            with pytest.raises(AccessTokenRevoked):
                each.verify(tokens.access_token)
        assert ending.cutoff_ttl == 3600 + 60 + 60


async def test_a_longer_life_is_learnt_while_running(store: Store, clock: Clock) -> None:
    """D12: the minute's reload learns it, and a shorter life later takes nothing away."""
    async with loaded(store, clock) as older:
        async with loaded(store, clock, policy=Policy(access_ttl=3600)) as longer:
            tokens = await longer.create("ada")
        await older._reload()

        assert accepts(older, tokens.access_token)
        async with loaded(store, clock, policy=Policy(access_ttl=60)) as shorter:
            assert accepts(shorter, tokens.access_token)
            assert shorter.cutoff_ttl == older.cutoff_ttl


async def test_a_cutoff_outlives_a_token_of_a_life_that_is_not_known_yet(
    store: Store, clock: Clock
) -> None:
    """D12: in the minute until the others have learnt of it, too."""
    async with (
        loaded(store, clock) as older,
        loaded(store, clock, policy=Policy(access_ttl=3600)) as longer,
    ):
        tokens = await longer.create("ada")
        clock.sleep(30)
        await older.revoke(tokens.session.sid)
        await longer.catch_up()
        clock.sleep(3569)

        for each in (older, longer):
            await each._reload()

            with pytest.raises(AccessTokenRevoked):
                each.verify(tokens.access_token)


async def test_who_mints_nothing_asks_for_the_longest_life_and_records_none(
    store: Store, clock: Clock
) -> None:
    """A command for operators ends sessions as the servers would."""
    command = engine(store, clock, policy=Policy(access_ttl=900))

    await command.learn_access_ttl()

    assert await store.longest_access_ttl(0) == 0
    await store.longest_access_ttl(3600)
    await command.learn_access_ttl()
    assert command.cutoff_ttl == 3600 + 120


async def test_cutoffs_that_void_nothing_any_more_are_forgotten(
    sessions: Sessions, clock: Clock
) -> None:
    """D13: what is held in memory does not grow for ever."""
    tokens = await sessions.create("ada")
    await sessions.revoke(tokens.session.sid)
    held = len(sessions._cutoffs.live)
    clock.sleep(sessions.cutoff_ttl)

    await sessions._reload()

    assert (held, len(sessions._cutoffs.live)) == (1, 0)


@pytest.mark.parametrize("ahead", [-HOUR, 2 * HOUR])
async def test_what_is_revoked_while_the_clock_is_wrong_stays_revoked(
    sessions: Sessions, store: Store, clock: Clock, ahead: int
) -> None:
    """D12: also where the last access token was issued before the clock was set back."""
    tokens = await sessions.create("ada")
    clock.sleep(ahead)
    await sessions.revoke(tokens.session.sid)

    clock.sleep(-ahead)

    async with loaded(store, clock) as other:
        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_a_token_of_a_clock_that_was_ahead_stays_revoked_for_all_its_life(
    sessions: Sessions, store: Store, clock: Clock
) -> None:
    """D12: that is longer by the hours for which the clock was ahead."""
    clock.sleep(2 * HOUR)
    tokens = await sessions.create("ada")
    clock.sleep(-2 * HOUR)
    await sessions.refresh(tokens.refresh_token)
    await sessions.revoke(tokens.session.sid)

    clock.sleep(2 * HOUR)

    async with loaded(store, clock) as other:
        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_sessions_of_all_users_are_listed_page_by_page(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that live, were used since, and no more than asked for."""
    monkeypatch.setattr(sessions_module, "_END_BATCH", 2)
    old = await sessions.create("ada")
    ended = await sessions.create("ada")
    clock.sleep(HOUR)
    new = [await sessions.create(f"user-{number}") for number in range(4)]
    await sessions.revoke(ended.session.sid)

    everybody = await sessions.list_all(limit=10)
    assert {row.sid for row in everybody} == {t.session.sid for t in [old, *new]}
    of_late = await sessions.list_all(since=sessions.now(), limit=10)
    assert {row.sid for row in of_late} == {tokens.session.sid for tokens in new}
    assert len(await sessions.list_all(limit=3)) == 3


@pytest.mark.parametrize(("method", "swaps"), [("get", 0), ("swap", 1)])
async def test_an_exchange_that_took_long_is_not_answered(
    sessions: Sessions, meddling: Meddling, clock: Clock, method: str, swaps: int
) -> None:
    """C12: one that was read late is not judged; one that was written late is a lost answer."""
    tokens = await sessions.create("ada")
    meddling.after(method, lambda: clock.sleeping(5.1))

    with pytest.raises(StoreUnavailable):
        await sessions.refresh(tokens.refresh_token)
    assert meddling.calls.count("swap") == swaps
    assert generation(await sessions.refresh(tokens.refresh_token), sessions) == 1


async def test_however_short_the_window_a_store_has_a_second(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    async with loaded(store, clock, policy=Policy(retry_window=1)) as sessions:
        tokens = await sessions.create("ada")
        meddling.after("get", lambda: clock.sleeping(0.9))

        assert generation(await sessions.refresh(tokens.refresh_token), sessions) == 1


async def test_where_there_is_no_window_an_exchange_is_answered_however_long_it_took(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """C12: to retry it would be reuse."""
    async with loaded(store, clock, policy=STRICT) as sessions:
        tokens = await sessions.create("ada")
        meddling.after("swap", lambda: clock.sleeping(60))

        assert generation(await sessions.refresh(tokens.refresh_token), sessions) == 1


async def test_what_was_forgotten_by_a_clock_that_was_ahead_is_learnt_again(
    sessions: Sessions,
    store: Store,
    meddling: Meddling,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D12: as soon as it is put right, though somebody swept meanwhile."""
    monkeypatch.setattr(sessions_module, "_POLL_SECONDS", 0)
    following = asyncio.Event()

    async def tell() -> None:
        following.set()

    meddling.before("wait_for_change", tell)
    tokens = await sessions.create("ada")
    await sessions.revoke(tokens.session.sid)
    async with engine(store, clock, steady_clock=Clock()) as running, asyncio.timeout(10):
        await following.wait()
        clock.sleep(2 * HOUR)
        await sessions.sweep()
        while running._cutoffs.live:
            await store.wait_for_change(0)
        clock.sleep(-2 * HOUR)
        while not running._cutoffs.live:
            await store.wait_for_change(0)

        with pytest.raises(AccessTokenRevoked):
            running.verify(tokens.access_token)


async def test_another_process_learns_what_was_revoked(store: Store, clock: Clock) -> None:
    """A process that follows the store refuses what another one ended."""
    async with loaded(store, clock) as one, loaded(store, clock) as other:
        tokens = await one.create("ada")
        assert accepts(other, tokens.access_token)
        await one.revoke(tokens.session.sid)

        await other.catch_up()

        with pytest.raises(AccessTokenRevoked):
            other.verify(tokens.access_token)


async def test_another_process_tells_its_followers_what_was_revoked(
    store: Store, clock: Clock
) -> None:
    """D12: whatever it learns of the store, once; and of keys."""
    async with loaded(store, clock) as one, loaded(store, clock) as other:
        tokens = await one.create("ada")
        events = other.feed.follow()
        while (await anext(events)).name != "alive":
            pass
        await one.set_claims("ada", Claims(username="ada"))
        await one.revoke(tokens.session.sid)
        await one.rotate_keys()
        for _ in range(2):
            await other.catch_up(everything=True)
            await other._read_keys()

        told = [await anext(events) for _ in range(3)]
        await events.aclose()

    assert [event.name for event in told] == ["cutoffs", "keys", "alive"]
    assert tokens.session.sid.encode() in told[0].data


async def test_following_goes_on_after_the_store_failed(
    sessions: Sessions, store: Store, meddling: Meddling, clock: Clock
) -> None:
    """A store that does not answer for a while costs no more than that while."""

    async def fail() -> None:
        raise StoreUnavailable

    caught_up = asyncio.Event()

    async def tell() -> None:
        caught_up.set()

    tokens = await sessions.create("ada")
    follower = engine(store, clock)
    async with follower:
        meddling.before("cutoffs", fail)
        await sessions.revoke(tokens.session.sid)
        meddling.after("cutoffs", tell)

        await asyncio.wait_for(caught_up.wait(), 10)

        with pytest.raises(AccessTokenRevoked):
            follower.verify(tokens.access_token)


async def test_who_never_read_the_cutoffs_vouches_for_nothing(
    sessions: Sessions, store: Store, clock: Clock
) -> None:
    """H4: a view that was never loaded refuses."""
    tokens = await sessions.create("ada")

    with pytest.raises(CutoffsStale):
        engine(store, clock).verify(tokens.access_token)


@pytest.mark.parametrize("on_stale", ["allow", "refuse"])
async def test_beyond_max_staleness_the_setting_decides(
    store: Store, clock: Clock, on_stale: str
) -> None:
    """H4: an operator chooses between a check that may be outdated and none."""
    async with loaded(store, clock, on_stale=on_stale, max_staleness=30) as sessions:
        tokens = await sessions.create("ada")
        clock.sleep(31)

        if on_stale == "allow":
            assert accepts(sessions, tokens.access_token)
        else:
            with pytest.raises(CutoffsStale):
                sessions.verify(tokens.access_token)
        assert sessions.stale


@pytest.mark.parametrize("name", ["", "https://" + "x" * 248, "é" * 128, "a\nb", "\ud800"])
@pytest.mark.parametrize("setting", ["issuer", "audience"])
def test_a_name_that_leaves_no_room_in_a_token_is_refused(
    store: Store, clock: Clock, setting: str, name: str
) -> None:
    """At once, and not with each sign-in."""
    names: dict[str, Any] = {setting: name}

    with pytest.raises(ConfigurationError, match=f"{setting}: must be printable"):
        engine(store, clock, **names)


def test_an_issuer_with_a_space_is_refused(store: Store, clock: Clock) -> None:
    """It is a URL (RFC 8414, section 2)."""
    with pytest.raises(ConfigurationError, match="issuer: must be a URL"):
        engine(store, clock, issuer=" ")


async def test_the_longest_names_leave_room_for_the_longest_user(
    store: Store, clock: Clock
) -> None:
    """Of names that can be registered."""
    names = {"issuer": "x" * 255, "audience": "y" * 255}
    profile = Claims(username="\U0001f511" * 64, email="e" * 254, fullname="\U0001f511" * 128)
    async with loaded(store, clock, **names) as sessions:
        tokens = await sessions.create("u" * 22, profile)

        assert sessions.verify(tokens.access_token).claims == profile


async def test_an_on_stale_that_is_neither_is_refused(store: Store, clock: Clock) -> None:
    """H4: a mistyped setting does not pass for the lenient one."""
    with pytest.raises(ConfigurationError, match="on_stale"):
        engine(store, clock, on_stale="Refuse")


# ── claims ──────────────────────────────────────────────────────────────────────────────────────


async def test_changed_claims_void_the_old_ones_and_come_with_the_next_exchange(
    sessions: Sessions,
) -> None:
    """The user stays signed in, and nothing says any more what is no longer true."""
    tokens = await sessions.create("ada", Claims(permissions=("admin",)))

    await sessions.set_claims("ada", Claims(permissions=()))

    with pytest.raises(AccessTokenRevoked):
        sessions.verify(tokens.access_token)
    fresh = await sessions.refresh(tokens.refresh_token)
    assert sessions.verify(fresh.access_token).claims.permissions == ()


async def test_a_change_of_claims_in_the_middle_of_an_exchange_is_not_lost(
    sessions: Sessions, meddling: Meddling
) -> None:
    """An exchange that read the old claims hands out the new ones."""
    tokens = await sessions.create("ada", Claims(username="old"))
    meddling.after("swap", lambda: sessions.set_claims("ada", Claims(username="new")))

    answer = await sessions.refresh(tokens.refresh_token)

    assert sessions.verify(answer.access_token).claims.username == "new"


async def test_an_end_in_the_middle_of_an_exchange_is_not_lost(
    sessions: Sessions, meddling: Meddling
) -> None:
    """An exchange overtaken by a logout hands out nothing."""
    tokens = await sessions.create("ada")
    meddling.after("swap", lambda: sessions.logout(tokens.refresh_token))

    with pytest.raises(SessionRevoked):
        await sessions.refresh(tokens.refresh_token)


async def test_a_store_that_lost_a_change_of_claims_never_hands_out_a_void_token(
    sessions: Sessions,
) -> None:
    """A cutoff known here that the row does not know of raises the row's version past it."""
    store = cast("Any", sessions.store)._store  # the one under the meddling
    tokens = await sessions.create("ada")
    backup = state_of(store)
    await sessions.set_claims("ada", Claims(username="new"))
    restore(store, backup)

    answer = await sessions.refresh(tokens.refresh_token)

    assert sessions.verify(answer.access_token).claims.username == ""


async def test_a_store_that_lost_an_end_has_it_done_again(sessions: Sessions) -> None:
    """A logout that was acknowledged holds, also when the store fell back behind it."""
    store = cast("Any", sessions.store)._store  # the one under the meddling
    tokens = await sessions.create("ada")
    backup = state_of(store)
    await sessions.logout(tokens.refresh_token)
    restore(store, backup)

    with pytest.raises(SessionRevoked) as refusal:
        await sessions.refresh(tokens.refresh_token)
    rows = await store.get([tokens.session.sid])
    assert refusal.value.reason == "logged_out"
    assert rows[tokens.session.sid].end_reason is EndReason.LOGGED_OUT


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_list_shows_the_living_ones_newest_first(
    sessions: Sessions, clock: Clock
) -> None:
    """G4: ended and expired sessions are not shown, devices are."""
    await sessions.create("ada", device=Device(user_agent="expired"))
    clock.sleep(30 * 86_400 - 10)
    for agent in ("older", "ended", "newer"):
        tokens = await sessions.create("ada", device=Device(user_agent=agent))
        clock.sleep(10)
        if agent == "ended":
            await sessions.logout(tokens.refresh_token)

    listed = await sessions.list("ada")

    assert [session.device.user_agent for session in listed] == ["newer", "older"]


async def test_the_story_of_a_user_is_told_newest_first(sessions: Sessions, clock: Clock) -> None:
    """Of all their sessions, as far back as was asked for, and of nobody else's."""
    first = await sessions.create("ada")
    clock.sleep(1)
    await sessions.create("bob")
    second = await sessions.create("ada")
    await sessions.logout(first.refresh_token)

    told = await sessions.events("ada", limit=2)

    assert [(event.kind, event.sid) for event in told] == [
        (EventKind.ENDED, first.session.sid),
        (EventKind.SIGNED_IN, second.session.sid),
    ]


# ── keys and secrets ────────────────────────────────────────────────────────────────────────────


async def test_many_processes_that_start_at_once_make_one_key(store: Store, clock: Clock) -> None:
    """Who comes second uses the key that is there."""
    engines = [engine(store, clock) for _ in range(10)]

    await asyncio.gather(*(each.load() for each in engines))

    assert len({each.keyring.keys[-1].kid for each in engines}) == 1
    assert len(await store.signing_keys()) == 1


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_checks_on(
    sessions: Sessions, clock: Clock
) -> None:
    """E2: no verifier meets a key that it could not know, and no good token is refused."""
    old = sessions.keyring.signing_key(sessions.now()).kid
    before = await sessions.create("ada")

    new = await sessions.rotate_keys()

    assert sessions.keyring.signing_key(sessions.now()).kid == old
    assert new.encode() in sessions.keyring.jwks()
    clock.sleep(PUBLISHED_AHEAD)
    assert sessions.keyring.signing_key(sessions.now()).kid == new
    clock.sleep(-PUBLISHED_AHEAD)
    assert accepts(sessions, before.access_token)


async def test_a_spent_key_is_dropped_only_after_its_last_token(
    sessions: Sessions, clock: Clock
) -> None:
    """E2: a key stays published until no token that it signed can live."""
    await sessions.rotate_keys()
    clock.sleep(PUBLISHED_AHEAD - 1)
    last = await sessions.create("ada")
    clock.sleep(sessions.policy.access_ttl - 1)
    await sessions._reload()
    assert accepts(sessions, last.access_token)

    clock.sleep(sessions.cutoff_ttl)
    await sessions._reload()

    assert len(sessions.keyring.keys) == 1


async def test_tokens_of_unknown_keys_cost_the_store_nothing(
    sessions: Sessions, meddling: Meddling, clock: Clock
) -> None:
    """E4: whatever key a token names, nothing is fetched to check it."""
    async with loaded(cast("Store", MemoryStore()), clock) as stranger:
        foreign = (await stranger.create("ada")).access_token
    meddling.calls.clear()

    for _ in range(1000):
        with pytest.raises(AccessTokenInvalid):
            sessions.verify(foreign)
    assert meddling.calls == []


async def test_keys_that_cannot_be_read_leave_those_that_are_known(
    sessions: Sessions, meddling: Meddling
) -> None:
    """E4: a store that fails while keys are read anew makes no good token bad."""

    async def fail() -> None:
        raise StoreUnavailable

    tokens = await sessions.create("ada")
    meddling.before("signing_keys", fail)

    with pytest.raises(StoreUnavailable):
        await sessions._read_keys()
    assert accepts(sessions, tokens.access_token)


async def test_a_change_of_algorithm_makes_a_new_key(store: Store, clock: Clock) -> None:
    """The key of the former algorithm checks until its tokens have ended."""
    async with loaded(store, clock) as former:
        tokens = await former.create("ada")
    async with loaded(store, clock, signing_algorithm="EdDSA") as sessions:
        clock.sleep(PUBLISHED_AHEAD)

        fresh = await sessions.refresh(tokens.refresh_token)

        assert sessions.keyring.by_header[fresh.access_token.split(".")[0]].algorithm == "EdDSA"


async def test_a_secret_is_added_then_promoted_then_removed_and_nobody_notices(
    store: Store, clock: Clock
) -> None:
    """H9: at no step is a refresh token or an access token refused."""
    async with loaded(store, clock, secrets=[SECRET]) as sessions:
        tokens = await sessions.create("ada")
    for secrets in ([SECRET, OTHER_SECRET], [OTHER_SECRET, SECRET], [OTHER_SECRET]):
        async with loaded(store, clock, secrets=secrets) as sessions:
            assert accepts(sessions, tokens.access_token)
            clock.sleep(PAST_WINDOW)

            tokens = await sessions.refresh(tokens.refresh_token)

            assert accepts(sessions, tokens.access_token)


async def test_the_wrong_secret_is_told_at_start_and_changes_nothing(
    store: Store, clock: Clock
) -> None:
    """H4: keys sealed by another secret are not replaced by new ones."""
    async with loaded(store, clock):
        keys = await store.signing_keys()

    with pytest.raises(ConfigurationError, match="secret"):
        await engine(store, clock, secrets=[OTHER_SECRET]).load()
    assert await store.signing_keys() == keys


async def test_two_secrets_that_share_their_id_are_told_apart(store: Store, clock: Clock) -> None:
    """H9: the id has one byte; a key is sealed anew unless the first secret itself opens it."""
    others = (number.to_bytes(32, "big") for number in range(1, 100_000))
    alike = next(secret for secret in others if same_id(secret, SECRET))
    for secrets in ([SECRET], [SECRET, alike], [alike, SECRET]):
        async with loaded(store, clock, secrets=secrets):
            pass

    async with loaded(store, clock, secrets=[alike]) as sessions:
        assert accepts(sessions, (await sessions.create("ada")).access_token)


async def test_a_key_of_which_nothing_is_left_is_told_at_start(store: Store, clock: Clock) -> None:
    """H4: a damaged row is an error that names the key, not a traceback."""
    async with loaded(store, clock):
        (key,) = await store.signing_keys()
    await store.replace_signing_key(key, replace(key, sealed=b""))

    with pytest.raises(ConfigurationError, match=key.kid):
        await engine(store, clock).load()


@pytest.mark.parametrize("seconds", [0, 61], ids=["at the next look", "at the reload"])
async def test_a_rotated_key_reaches_a_process_that_runs(
    store: Store, meddling: Meddling, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """E2: by itself and at once: so also that one which may have leaked is dropped."""
    monkeypatch.setattr(sessions_module, "_POLL_SECONDS", 0)
    following, reloaded = asyncio.Event(), asyncio.Event()

    async def tell_of(event: asyncio.Event) -> None:
        event.set()

    meddling.before("wait_for_change", lambda: tell_of(following))
    async with engine(store, clock) as running, loaded(store, clock) as other:
        await asyncio.wait_for(following.wait(), 10)
        kid = await other.rotate_keys()
        meddling.after("signing_keys", lambda: tell_of(reloaded))
        clock.sleep(seconds)

        await asyncio.wait_for(reloaded.wait(), 10)

        assert kid in {key.kid for key in running.keyring.keys}


# ── life ────────────────────────────────────────────────────────────────────────────────────────


def takes_long(meddling: Meddling, operation: str, *, told: str) -> asyncio.Event:
    """Make the next such call of the store last, and tell of its end among the calls. Is set when
    it is under way.
    """
    under_way = asyncio.Event()

    async def take_long() -> None:
        under_way.set()
        for _ in range(20):
            await asyncio.sleep(0)

    async def tell() -> None:
        meddling.calls.append(told)

    meddling.before(operation, take_long)
    meddling.after(operation, tell)
    return under_way


async def test_an_entering_that_fails_closes_the_store(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """Nobody else would: what was to be entered is never left."""

    async def fail() -> None:
        raise StoreUnavailable

    meddling.before("signing_keys", fail)

    with pytest.raises(StoreUnavailable):
        async with engine(store, clock):
            pass
    assert meddling.calls[-1] == "close"


async def test_before_they_are_entered_nothing_is_begun_or_exchanged(
    store: Store, meddling: Meddling, clock: Clock
) -> None:
    """Else a row would be written that nobody holds a token of."""
    async with loaded(store, clock) as entered:
        token = (await entered.create("ada")).refresh_token
    meddling.calls.clear()
    sessions = engine(store, clock)

    for attempt in (sessions.create("ada"), sessions.refresh(token)):
        with pytest.raises(RuntimeError, match="Enter the Sessions first"):
            await attempt
    assert meddling.calls == []


async def test_what_is_asked_on_another_event_loop_is_refused_at_once(
    sessions: Sessions, meddling: Meddling
) -> None:
    """Instead of waiting for ever, or of being served by what follows no revocations."""
    tokens = await sessions.create("ada")
    meddling.calls.clear()
    questions: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: sessions.create("ada"),
        lambda: sessions.refresh(tokens.refresh_token),
        lambda: sessions.user_epoch("ada"),
        lambda: sessions.logout(tokens.access_token),
        lambda: sessions.revoke(tokens.session.sid),
        lambda: sessions.revoke_all("ada"),
        lambda: sessions.revoke_since(0),
        sessions.void_all,
        lambda: sessions.list("ada"),
        lambda: sessions.list_all(limit=1),
        lambda: sessions.events("ada", limit=1),
        lambda: sessions.history(tokens.session.sid, limit=1),
        lambda: sessions.set_claims("ada", Claims()),
        sessions.rotate_keys,
        lambda: sessions.retire_key("kid"),
        sessions.sweep,
        sessions.check_store,
        sessions.close,
    ]

    for ask in questions:
        with pytest.raises(RuntimeError, match="belong to the event loop"):
            await asyncio.to_thread(asyncio.run, ask())
    assert meddling.calls == []
    assert await exchanges(sessions, tokens.refresh_token)


async def test_a_key_that_is_retired_in_the_midst_of_a_check_is_refused_by_the_next(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: one thread finds a token good by a key that the loop drops meanwhile: it is not kept."""
    tokens, loop = await sessions.create("ada"), asyncio.get_running_loop()
    (key,) = sessions.keyring.keys
    check = key.verify

    def retire_and_check(signature: bytes, data: bytes) -> bool:
        asyncio.run_coroutine_threadsafe(sessions.retire_key(key.kid), loop).result()
        return check(signature, data)

    monkeypatch.setattr(key, "verify", retire_and_check)
    await asyncio.to_thread(sessions.verify, tokens.access_token)

    with pytest.raises(AccessTokenInvalid):
        sessions.verify(tokens.access_token)


async def test_closing_waits_for_exchanges_in_flight(
    sessions: Sessions, meddling: Meddling
) -> None:
    """A server that is told to stop answers what it has begun."""
    tokens = await sessions.create("ada")
    flight = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    await asyncio.sleep(0)

    await sessions.close()

    assert meddling.calls[-1] == "close"
    assert generation(await flight, sessions) == 1


async def test_closing_waits_for_a_turn_that_nobody_waits_for(
    sessions: Sessions, meddling: Meddling
) -> None:
    """It was handed on from one gathered call to the next, and its caller has gone."""
    tokens = await sessions.create("ada")
    under_way = takes_long(meddling, "swap", told="swapped")
    flight = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    await under_way.wait()
    flight.cancel()

    await sessions.close()

    assert meddling.calls[-2:] == ["swapped", "close"]


async def test_closing_waits_for_what_a_flight_writes_by_itself(
    sessions: Sessions, meddling: Meddling, clock: Clock
) -> None:
    """An end is no part of the gathered calls, and is waited for all the same."""
    tokens = await sessions.create("ada")
    clock.sleep(30 * 86_400)
    under_way = takes_long(meddling, "end", told="ended")
    flight = asyncio.create_task(sessions.refresh(tokens.refresh_token))
    await under_way.wait()

    await sessions.close()

    assert meddling.calls[-2:] == ["ended", "close"]
    with pytest.raises(SessionExpired):
        await flight


async def test_checks_of_the_store_are_shared_and_kept_for_a_second(
    sessions: Sessions, meddling: Meddling, clock: Clock
) -> None:
    """However many ask whether the server is ready, the disk is asked once a second."""
    await asyncio.gather(*(sessions.check_store() for _ in range(10)))
    await sessions.check_store()
    asked = meddling.calls.count("check")
    clock.sleep(1)

    await sessions.check_store()

    assert (asked, meddling.calls.count("check")) == (1, 2)


async def test_a_failed_check_of_the_store_is_not_kept(
    sessions: Sessions, meddling: Meddling
) -> None:
    """All who asked are told, and the next one asks anew."""

    async def fail() -> None:
        raise StoreUnavailable

    meddling.before("check", fail)

    told = await asyncio.gather(*(sessions.check_store() for _ in range(3)), return_exceptions=True)
    await sessions.check_store()

    assert [type(error) for error in told] == [StoreUnavailable] * 3
    assert meddling.calls.count("check") == 2


async def test_sweeping_goes_on_by_itself(
    store: Store, meddling: Meddling, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to schedule it."""
    monkeypatch.setattr(sessions_module, "_SWEEP_SECONDS", 0)
    swept = asyncio.Event()

    async def tell() -> None:
        swept.set()

    meddling.after("sweep", tell)

    async with engine(store, clock):
        await asyncio.wait_for(swept.wait(), 10)

    assert "sweep" in meddling.calls


async def test_closing_right_after_an_end_returns(store: Store, clock: Clock) -> None:
    """The follower, woken by the end and cancelled by the close at once, lets go."""
    async with asyncio.timeout(10):
        async with engine(store, clock) as sessions:
            tokens = await sessions.create("ada")
            await asyncio.sleep(0)
            await sessions.logout(tokens.refresh_token)

    assert not sessions._background - {task for task in sessions._background if task.done()}


async def test_sweeping_deletes_what_has_been_over_for_a_week(
    sessions: Sessions, clock: Clock
) -> None:
    """No table grows for ever, in whatever number of batches it takes."""
    for number in range(1200):
        await sessions.create(f"user-{number}")
    tokens = await sessions.create("ada")
    clock.sleep(25 * 86_400)
    await sessions.refresh(tokens.refresh_token)
    clock.sleep(13 * 86_400)

    swept = await sessions.sweep()

    assert swept >= 1200
    assert [row.sid for row in await sessions.list("ada")] == [tokens.session.sid]


async def test_tokens_do_not_show_themselves(sessions: Sessions) -> None:
    """H3: a pair that gets into a log or a traceback tells nothing."""
    tokens = await sessions.create("ada")

    shown = repr(tokens)

    assert tokens.refresh_token not in shown
    assert tokens.access_token not in shown
