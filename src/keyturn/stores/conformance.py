"""The laws of a store, as tests that any store must pass.

With pytest and an asyncio plug-in, derive a class and give it a fixture ``store`` that yields a
fresh, empty store::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        async def store(self):
            store = await MyStore.open(...)
            yield store
            await store.close()

Without pytest, call each ``test_…`` method with a fresh store.
"""

# ruff: noqa: S101  this is a test kit

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import Any, Final

from msgspec.structs import replace

from keyturn.core import base64url
from keyturn.core.model import (
    ALL_VERSIONS,
    Claims,
    Cutoff,
    Device,
    EndReason,
    Event,
    EventKind,
    SealedKey,
    Session,
)

from .base import Ending, Store, Swap, SweepBounds

__all__ = [
    "LATER",
    "LOGOUT",
    "NOW",
    "StoreConformance",
    "a_session",
    "begin",
    "living",
    "row",
    "sids_of",
    "turned",
]

NOW: Final = 1_700_000_000
"""The time of these tests."""
LATER: Final = NOW + 1000
"""When the cutoffs of these tests expire."""

LOGOUT: Final = Ending(EndReason.LOGGED_OUT, NOW, LATER)
"""An end right now."""
_REVOKE: Final = Ending(EndReason.REVOKED_BY_ADMIN, NOW + 1, LATER)
_KEEP_ALL: Final = SweepBounds(ended=0, created=0, last_used=0, cutoffs=0, events=0)

_ODD_USER_IDS: Final = (
    "'; DROP TABLE session; --",
    '"',
    "\\",
    "%",
    "_",
    "*",
    "null",
    "[]",
    " ",
    "ann",
    "ann ",
    "ANN",
    "\u00e9",
    "e\u0301",
    "\u202e\u0001\u2028",
    "\U0001f9d1\u200d\U0001f680",
    "x" * 255,
)

_serial = count(1)


def a_session(user_id: str = "ann", **fields: Any) -> Session:
    """A session of an id not used before, begun at ``NOW`` unless told otherwise."""
    sid = base64url.encode(next(_serial).to_bytes(16, "big"))
    given = {"sid": sid, "user_id": user_id, "secret": b"\xff\x00" * 16, "created_at": NOW}
    return Session(**{**given, **fields})


def _a_key(kid: str) -> SealedKey:
    return SealedKey(kid=kid, algorithm="ES256", created_at=NOW, use_from=NOW, sealed=b"\x00\xff")


def turned(session: Session, at: int = NOW) -> Session:
    """The session after one turn."""
    return replace(
        session,
        previous_parent=session.parent,
        parent=session.generation,
        first_child=session.generation + 1,
        generation=session.generation + 1,
        turned_at=at,
        used_before=at - 99,
    )


async def begin(
    store: Store,
    *sessions: Session,
    limit: int = 1000,
    replaces: str | None = None,
    epoch: int | None = None,
) -> list[Cutoff] | None:
    """Add the sessions, and return the cutoffs of the last one's sign-in."""
    ended = None
    for session in sessions:
        ended = await store.add(
            session,
            limit=limit,
            replaces=replaces,
            epoch=await store.user_epoch(session.user_id) if epoch is None else epoch,
            tokens_until=LATER,
        )
    return ended


async def row(store: Store, sid: str) -> Session:
    """The one row of a session that must be there."""
    rows = await store.get([sid])
    assert sid in rows
    return rows[sid]


async def _reason_of(store: Store, session: Session) -> EndReason | None:
    return (await row(store, session.sid)).end_reason


async def living(store: Store, user_id: str = "ann") -> set[str]:
    """The ids of the user's sessions that have not been ended."""
    return sids_of(await store.list_sessions(user_id))


async def _recorded(store: Store, user_id: str = "ann") -> list[Event]:
    return await store.events(user_id=user_id, limit=1000)


async def _sweep_through(store: Store, bounds: SweepBounds, limit: int = 1000) -> int:
    """Sweep once to the end."""
    deleted, after = await store.sweep(bounds, after="", limit=limit)
    while after:
        more, after = await store.sweep(bounds, after=after, limit=limit)
        deleted += more
    return deleted


def sids_of(rows: Iterable[Session | Cutoff]) -> set[str]:
    """The ids that rows or cutoffs name."""
    return {row.sid or "" for row in rows}


class StoreConformance:
    """One method for each law of ``keyturn.stores.base.Store``."""

    patience = 10.0
    """Seconds after which a wake-up that does not come is called missing."""

    # ── add ─────────────────────────────────────────────────────────────────────────────────────

    async def test_add_keeps_every_field(self, store: Store) -> None:
        """A session reads back as it was added."""
        session = a_session(
            generation=2**32 - 1,
            parent=7,
            first_child=8,
            previous_parent=6,
            turned_at=NOW + 5,
            used_before=NOW - 99,
            version=2**53 + 1,
            claims=Claims(
                username="an\u00edbal",
                email="a@example.com",
                fullname="\U0001f469 \"'\\ \u2028",
                permissions=("read", "write"),
                extra={"deep": [{"n": 1.5, "big": 2**53 + 1, "none": None, "yes": True}]},
            ),
            device=Device(user_agent='odd \t "agent"', address="2001:db8::1"),
            remember=False,
        )

        await begin(store, session)

        assert await row(store, session.sid) == session

    async def test_add_records_the_sign_in(self, store: Store) -> None:
        """A sign-in is told as an event, with its device."""
        session = a_session(device=Device(user_agent="browser", address="192.0.2.1"))

        await begin(store, session)

        assert await _recorded(store) == [
            Event(
                at=NOW,
                kind=EventKind.SIGNED_IN,
                user_id="ann",
                sid=session.sid,
                device=session.device,
            )
        ]

    async def test_add_evicts_the_least_recently_used(self, store: Store) -> None:
        """Beyond the limit goes whoever was neither begun nor turned for the longest time."""
        long_idle = a_session(created_at=NOW - 50)
        old_but_used = a_session(created_at=NOW - 90, turned_at=NOW - 10)
        turned_by_a_late_clock = a_session(created_at=NOW - 20, turned_at=NOW - 99)
        await begin(store, old_but_used, long_idle, turned_by_a_late_clock)

        first = await begin(store, a_session(), limit=3)
        second = await begin(store, a_session(), limit=3)

        assert [first, second] == [
            [Cutoff(long_idle.sid, ALL_VERSIONS, LATER, EndReason.EVICTED)],
            [Cutoff(turned_by_a_late_clock.sid, ALL_VERSIONS, LATER, EndReason.EVICTED)],
        ]

    async def test_add_never_evicts_the_new_session(self, store: Store) -> None:
        """The new session stays, even if a late clock makes it the oldest."""
        await begin(store, a_session(), a_session())
        new = a_session(created_at=NOW - 500)

        await begin(store, new, limit=1)

        assert await living(store) == {new.sid}

    async def test_add_counts_living_sessions_of_the_user_alone(self, store: Store) -> None:
        """Ended sessions and those of others take no place under the limit."""
        ended, mine, other = a_session(), a_session(), a_session("bob")
        await begin(store, ended, mine, other)
        await store.end([ended.sid], LOGOUT)

        cutoffs = await begin(store, a_session(), limit=2)

        assert (cutoffs, await living(store, "bob")) == ([], {other.sid})

    async def test_twenty_at_once_leave_the_limit(self, store: Store) -> None:
        """However many sign in at once, exactly the limit is left (requirement G3)."""
        await asyncio.gather(*(begin(store, a_session(), limit=3, epoch=0) for _ in range(20)))

        assert len(await living(store)) == 3

    async def test_add_ends_the_session_it_replaces(self, store: Store) -> None:
        """The session that the client held before ends, whosesoever it was (requirement G1)."""
        older = a_session("bob")
        await begin(store, older)

        cutoffs = await begin(store, a_session(), replaces=older.sid)

        assert cutoffs == [Cutoff(older.sid, ALL_VERSIONS, LATER, EndReason.REPLACED)]
        assert await _reason_of(store, older) is EndReason.REPLACED

    async def test_add_replaces_before_it_evicts(self, store: Store) -> None:
        """A replaced session makes room, so that nobody is evicted for its successor."""
        replaced, idle = a_session(), a_session(created_at=NOW - 99)
        await begin(store, replaced, idle)

        await begin(store, a_session(), limit=2, replaces=replaced.sid)

        assert await _reason_of(store, idle) is None

    async def test_add_leaves_an_ended_replaced_session_as_it_is(self, store: Store) -> None:
        """The first reason stands, and no second cutoff is _recorded."""
        older = a_session()
        await begin(store, older)
        await store.end([older.sid], LOGOUT)

        cutoffs = await begin(store, a_session(), replaces=older.sid)

        assert (cutoffs, await _reason_of(store, older)) == ([], EndReason.LOGGED_OUT)

    async def test_add_at_another_epoch_does_nothing(self, store: Store) -> None:
        """A sign-in that raced a change of its user leaves no trace (requirement C7)."""
        older = a_session()
        await begin(store, older)
        before = await _recorded(store)

        refused = await begin(store, late := a_session(), limit=1, replaces=older.sid, epoch=7)

        assert (refused, await store.get([late.sid])) == (None, {})
        assert (await living(store), await _recorded(store)) == ({older.sid}, before)

    async def test_sign_ins_racing_an_end_of_all_do_not_outlive_it(self, store: Store) -> None:
        """A sign-in that began before the end of all sessions is ended by it or refused
        (requirement C7).
        """
        sign_ins = [begin(store, a_session(), epoch=0) for _ in range(20)]

        await asyncio.gather(*sign_ins[:10], store.end_user("ann", None, LOGOUT), *sign_ins[10:])

        assert await living(store) == set()

    # ── epoch ───────────────────────────────────────────────────────────────────────────────────

    async def test_epoch_of_an_unknown_user_is_0(self, store: Store) -> None:
        """A user never changed has epoch 0."""
        assert await store.user_epoch("nobody") == 0

    async def test_epoch_rises_with_each_change_of_the_user(self, store: Store) -> None:
        """``end_user`` and ``set_claims`` raise it, with or without sessions, for this user."""
        epochs = [await store.user_epoch("ann")]
        await store.end_user("ann", None, LOGOUT)
        epochs.append(await store.user_epoch("ann"))
        await store.set_claims("ann", Claims(), at=NOW, least_version=1, tokens_until=LATER)
        epochs.append(await store.user_epoch("ann"))

        assert epochs == sorted(set(epochs))
        assert await store.user_epoch("bob") == 0

    async def test_epoch_does_not_rise_with_sessions(self, store: Store) -> None:
        """Signing in, turning and ending one session disturb no sign-in under way."""
        session = a_session()
        await begin(store, session)
        await store.swap([Swap(session, turned(session))])
        await store.end([session.sid], LOGOUT)

        assert await store.user_epoch("ann") == 0

    async def test_epoch_outlives_the_sessions(self, store: Store) -> None:
        """It never falls, even when nothing else is left of the user (requirement G8)."""
        await begin(store, a_session())
        await store.end_user("ann", None, LOGOUT)
        epoch = await store.user_epoch("ann")

        await _sweep_through(store, replace(_KEEP_ALL, created=LATER, events=LATER))

        assert await store.user_epoch("ann") == epoch

    # ── get and list ────────────────────────────────────────────────────────────────────────────

    async def test_get_returns_what_there_is(self, store: Store) -> None:
        """Ended rows too; an unknown session is not found, which is no error."""
        alive, ended, unknown = a_session(), a_session(), a_session()
        await begin(store, alive, ended)
        await store.end([ended.sid], LOGOUT)

        assert set(await store.get([unknown.sid, ended.sid, alive.sid])) == {alive.sid, ended.sid}
        assert await store.get([]) == {}

    async def test_list_has_living_sessions_newest_first(self, store: Store) -> None:
        """Of this user, without those that were ended."""
        old, new, ended = a_session(created_at=NOW - 9), a_session(), a_session()
        await begin(store, new, ended, old, a_session("bob"))
        await store.end([ended.sid], LOGOUT)

        assert await store.list_sessions("ann") == [new, old]

    async def test_user_ids_are_any_text(self, store: Store) -> None:
        """Odd user ids are kept apart to the last bit, and none is taken for a command
        (requirement G9).
        """
        sessions = {user_id: a_session(user_id) for user_id in _ODD_USER_IDS}
        await begin(store, *sessions.values())

        await store.end_user("%", None, LOGOUT)

        for user_id, session in sessions.items():
            assert await store.list_sessions(user_id) == ([] if user_id == "%" else [session])
            assert {event.user_id for event in await _recorded(store, user_id)} == {user_id}

    # ── swap ────────────────────────────────────────────────────────────────────────────────────

    async def test_swap_writes_the_turn(self, store: Store) -> None:
        """Who holds the newest row wins (requirement C4)."""
        session = a_session()
        await begin(store, session)

        won = await store.swap([Swap(session, turned(session, NOW + 60))])

        assert (won, await row(store, session.sid)) == ([True], turned(session, NOW + 60))

    async def test_swap_of_an_older_row_loses(self, store: Store) -> None:
        """A turn that was overtaken changes nothing and records nothing (requirement C4)."""
        session = a_session()
        await begin(store, session)
        newest = turned(session)
        await store.swap([Swap(session, newest)])
        told = Event(at=NOW, kind=EventKind.RECOVERED, user_id="ann", sid=session.sid)

        won = await store.swap([Swap(session, turned(session, NOW + 60), told)])

        assert (won, await row(store, session.sid)) == ([False], newest)
        assert told not in await _recorded(store)

    async def test_swap_of_an_ended_session_loses(self, store: Store) -> None:
        """No turn brings an ended session back (requirement C7)."""
        session = a_session()
        await begin(store, session)
        await store.end([session.sid], LOGOUT)
        ended = await row(store, session.sid)

        won = await store.swap([Swap(session, turned(session))])

        assert (won, await row(store, session.sid)) == ([False], ended)

    async def test_swap_of_an_unknown_session_loses(self, store: Store) -> None:
        """And adds no row."""
        session = a_session()

        won = await store.swap([Swap(session, turned(session))])

        assert (won, await store.get([session.sid])) == ([False], {})

    async def test_losers_do_not_disturb_winners(self, store: Store) -> None:
        """Each of a batch is judged alone, and each answer is at its place."""
        sessions = [a_session() for _ in range(6)]
        overtaken, ended, unknown = sessions[0], sessions[2], sessions[4]
        await begin(store, *(session for session in sessions if session is not unknown))
        await store.swap([Swap(overtaken, turned(overtaken))])
        await store.end([ended.sid], LOGOUT)

        won = await store.swap([Swap(session, turned(session)) for session in sessions])

        assert won == [False, True, False, True, False, True]
        winners = sessions[1::2]
        rows = await store.get([session.sid for session in winners])
        assert rows == {session.sid: turned(session) for session in winners}

    async def test_sixty_four_turn_in_one_batch(self, store: Store) -> None:
        """A full batch is read and written, in an order of its own."""
        sessions = [a_session(f"user {number}", generation=number) for number in range(64)]
        await begin(store, *sessions)
        sessions = sessions[1::2] + sessions[::2]

        won = await store.swap([Swap(session, turned(session)) for session in sessions])

        rows = await store.get([session.sid for session in sessions])
        assert won == [True] * 64
        assert rows == {session.sid: turned(session) for session in sessions}

    async def test_swap_writes_the_protocols_fields_alone(self, store: Store) -> None:
        """A turn decided on an older reading takes back no change of claims."""
        session = a_session()
        await begin(store, session)
        claims = Claims(username="new")
        await store.set_claims("ann", claims, at=NOW, least_version=9, tokens_until=LATER)
        stale = replace(
            turned(session), secret=bytes(32), user_id="eve", created_at=1, remember=False
        )

        await store.swap([Swap(session, replace(stale, device=Device(address="there")))])

        assert await row(store, session.sid) == replace(turned(session), claims=claims, version=9)

    async def test_of_many_turns_of_one_session_one_wins(self, store: Store) -> None:
        """However many try at once (requirement C4)."""
        session = a_session()
        await begin(store, session)
        turns = [turned(session, NOW + number) for number in range(10)]

        answers = await asyncio.gather(*(store.swap([Swap(session, turn)]) for turn in turns))

        winners = [turn for turn, won in zip(turns, answers, strict=True) if won == [True]]
        assert [await row(store, session.sid)] == winners

    async def test_a_turn_racing_an_end_does_not_undo_it(self, store: Store) -> None:
        """Whichever comes first, the session is over (requirement C7)."""
        sessions = [a_session() for _ in range(10)]
        await begin(store, *sessions)

        for session in sessions:
            await asyncio.gather(
                store.swap([Swap(session, turned(session))]), store.end([session.sid], LOGOUT)
            )

        assert await living(store) == set()

    async def test_swap_records_the_event_of_a_winner(self, store: Store) -> None:
        """In the same transaction, where there is one to record."""
        told, untold = a_session("bob"), a_session("bob")
        await begin(store, told, untold)
        event = Event(at=NOW, kind=EventKind.RESUMED, user_id="bob", sid=told.sid)

        await store.swap([Swap(told, turned(told), event), Swap(untold, turned(untold))])

        assert (await _recorded(store, "bob"))[0] == event
        assert len(await _recorded(store, "bob")) == 3

    async def test_empty_batches_do_nothing(self, store: Store) -> None:
        """Nothing asked, nothing answered."""
        assert (await store.swap([]), await store.end([], LOGOUT)) == ([], [])

    # ── end ─────────────────────────────────────────────────────────────────────────────────────

    async def test_end_marks_the_row_and_erases_its_secret(self, store: Store) -> None:
        """With time and reason, and nothing else is changed (requirement C2)."""
        session, other = a_session(), a_session()
        await begin(store, session, other)

        await store.end([session.sid], LOGOUT)

        assert await row(store, session.sid) == replace(
            session, secret=None, ended_at=NOW, end_reason=EndReason.LOGGED_OUT
        )
        assert await row(store, other.sid) == other

    async def test_end_records_cutoff_and_event(self, store: Store) -> None:
        """The cutoff voids all versions; both are found again."""
        session = a_session()
        await begin(store, session)

        cutoffs = await store.end([session.sid], LOGOUT)

        assert cutoffs == [Cutoff(session.sid, ALL_VERSIONS, LATER, EndReason.LOGGED_OUT)]
        assert (await store.cutoffs(None, NOW))[1] == cutoffs
        assert (await store.events(sid=session.sid, limit=1)) == [
            Event(
                at=NOW,
                kind=EventKind.ENDED,
                user_id="ann",
                sid=session.sid,
                reason=EndReason.LOGGED_OUT,
            )
        ]

    async def test_the_first_reason_stands(self, store: Store) -> None:
        """Ending an ended session changes nothing and records nothing."""
        session = a_session()
        await begin(store, session)
        await store.end([session.sid], LOGOUT)
        ended, events = await row(store, session.sid), await _recorded(store)

        cutoffs = await store.end([session.sid], _REVOKE)

        assert (cutoffs, await row(store, session.sid)) == ([], ended)
        assert await _recorded(store) == events

    async def test_end_takes_many_at_once(self, store: Store) -> None:
        """Those that live end, unknown and ended ones are passed over, twice named counts once."""
        one, two, ended = a_session(), a_session("bob"), a_session()
        await begin(store, one, two, ended)
        await store.end([ended.sid], LOGOUT)

        sids = [one.sid, ended.sid, a_session().sid, two.sid, one.sid]
        cutoffs = await store.end(sids, _REVOKE)

        assert sorted(cutoff.sid or "" for cutoff in cutoffs) == sorted([one.sid, two.sid])

    async def test_end_of_another_generation_does_nothing(self, store: Store) -> None:
        """What was judged of a row that has turned since ends nothing; of the row as it is, it
        ends it.
        """
        judged = a_session(generation=1)
        await begin(store, judged)
        await store.swap([Swap(judged, session := turned(judged))])

        too_late = await store.end([session.sid], LOGOUT, generation=judged.generation)
        untouched = await row(store, session.sid)
        in_time = await store.end([session.sid], LOGOUT, generation=session.generation)

        assert (too_late, untouched) == ([], session)
        assert sids_of(in_time) == {session.sid}
        assert len((await store.cutoffs(None, NOW))[1]) == 1

    async def test_a_turn_racing_an_end_of_its_generation_lets_one_win(self, store: Store) -> None:
        """Never both, in whatever order."""
        sessions = [a_session() for _ in range(10)]
        await begin(store, *sessions)

        for session in sessions:
            won, ended = await asyncio.gather(
                store.swap([Swap(session, turned(session))]),
                store.end([session.sid], LOGOUT, generation=session.generation),
            )
            assert won == [not ended]

    async def test_end_user_ends_all_but_one(self, store: Store) -> None:
        """The others of the user with cutoffs, nobody else's (requirements C7, G6)."""
        kept, one, two, other = a_session(), a_session(), a_session(), a_session("bob")
        await begin(store, kept, one, two, other)

        cutoffs = await store.end_user("ann", kept.sid, _REVOKE)

        assert sids_of(cutoffs) == {one.sid, two.sid}
        assert (await living(store), await living(store, "bob")) == ({kept.sid}, {other.sid})

    async def test_end_user_keeps_none_by_default(self, store: Store) -> None:
        """Nor one of somebody else's id."""
        other = a_session("bob")
        await begin(store, a_session(), a_session(), other)

        await store.end_user("ann", other.sid, _REVOKE)
        await store.end_user("bob", None, _REVOKE)

        assert await living(store) | await living(store, "bob") == set()

    async def test_living_sessions_are_found_page_by_page(self, store: Store) -> None:
        """Those that were begun or turned since a time, of whichever user; ended ones are not."""
        old = a_session(created_at=NOW - 10)
        woken = turned(replace(old, sid=a_session().sid), at=NOW)
        ended, fresh, other = a_session(), a_session(), a_session("bob")
        await begin(store, old, woken, ended, fresh, other)
        await store.end([ended.sid], LOGOUT)

        found: list[str] = []
        pages, after = 0, ""
        while pages == 0 or after:
            page, after = await store.living(since=NOW, after=after, limit=2)
            found += page
            pages += 1

        assert sorted(found) == sorted([woken.sid, fresh.sid, other.sid])
        assert pages == 3
        assert await store.living(since=0, after="", limit=9) == (
            sorted([old.sid, *found]),
            "",
        )

    # ── claims and versions ─────────────────────────────────────────────────────────────────────

    async def test_set_claims_raises_each_version(self, store: Store) -> None:
        """To the next one, or to the least that was asked for, whichever is more."""
        low, high = a_session(version=3), a_session(version=100)
        await begin(store, low, high)
        claims = Claims(username="new", permissions=("admin",))

        cutoffs = await store.set_claims(
            "ann", claims, at=NOW, least_version=50, tokens_until=LATER
        )

        assert await row(store, low.sid) == replace(low, claims=claims, version=50)
        assert await row(store, high.sid) == replace(high, claims=claims, version=101)
        expected = {Cutoff(low.sid, 49, LATER), Cutoff(high.sid, 100, LATER)}
        assert set(cutoffs) == set((await store.cutoffs(None, NOW))[1]) == expected

    async def test_set_claims_is_told_once_for_the_user(self, store: Store) -> None:
        """One event that names no session."""
        await begin(store, a_session(), a_session())

        await store.set_claims("ann", Claims(), at=NOW + 5, least_version=1, tokens_until=LATER)

        told = [event for event in await _recorded(store) if event.kind is EventKind.CLAIMS_CHANGED]
        assert told == [Event(at=NOW + 5, kind=EventKind.CLAIMS_CHANGED, user_id="ann")]

    async def test_set_claims_leaves_the_others_alone(self, store: Store) -> None:
        """Ended sessions and other users keep what they have."""
        ended, other = a_session(), a_session("bob")
        await begin(store, ended, other)
        await store.end([ended.sid], LOGOUT)
        before = await store.get([ended.sid, other.sid])

        cutoffs = await store.set_claims(
            "ann", Claims(username="new"), at=NOW, least_version=9, tokens_until=LATER
        )

        assert (cutoffs, await store.get([ended.sid, other.sid])) == ([], before)

    async def test_raise_version_only_raises(self, store: Store) -> None:
        """Past what was asked, never down, and records nothing."""
        session = a_session(version=5)
        await begin(store, session)
        events = await _recorded(store)

        versions = [await store.raise_version(session.sid, above) for above in (4, 9, 3)]

        assert versions == [5, 10, 10]
        assert (await row(store, session.sid)).version == 10
        assert (await _recorded(store), (await store.cutoffs(None, NOW))[1]) == (events, [])

    async def test_raise_version_of_what_does_not_live(self, store: Store) -> None:
        """An ended session and an unknown one have none."""
        ended = a_session()
        await begin(store, ended)
        await store.end([ended.sid], LOGOUT)

        versions = [await store.raise_version(sid, 9) for sid in (ended.sid, a_session().sid)]

        assert (versions, (await row(store, ended.sid)).version) == ([None, None], 0)

    # ── cutoffs ─────────────────────────────────────────────────────────────────────────────────

    async def test_the_emergency_cutoff_is_recorded(self, store: Store) -> None:
        """It names no session."""
        cutoff = await store.void_all(NOW - 1, LATER)

        assert cutoff == Cutoff(None, NOW - 1, LATER)
        assert (await store.cutoffs(None, NOW))[1] == [cutoff]

    async def test_the_longest_access_ttl_only_rises(self, store: Store) -> None:
        """Asking with 0 changes nothing."""
        told = [await store.longest_access_ttl(at_least) for at_least in (0, 600, 0, 900, 300, 0)]

        assert told == [0, 600, 600, 900, 900, 900]

    async def test_cutoffs_last_as_long_as_the_longest_access_token(self, store: Store) -> None:
        """Whoever records them: that others have begun to give longer lives is in the store."""
        older, ended, living, last = (
            a_session(user_id=name) for name in ("ann", "ann", "ann", "bo")
        )
        await begin(store, older, ended, living)
        await store.longest_access_ttl(3600)

        recorded = [
            *(await begin(store, last, replaces=older.sid) or []),
            *await store.end([ended.sid], LOGOUT),
            *await store.set_claims("ann", Claims(), at=NOW, least_version=1, tokens_until=LATER),
            *await store.end_user("ann", None, LOGOUT),
            await store.void_all(NOW - 1, LATER),
        ]

        assert [cutoff.expires_at for cutoff in recorded] == [LATER + 3600] * 5
        assert set((await store.cutoffs(None, NOW))[1]) == set(recorded)

    async def test_expired_cutoffs_are_not_told(self, store: Store) -> None:
        """From the very second of their expiry."""
        session = a_session()
        await begin(store, session)
        await store.end([session.sid], LOGOUT)

        told = [len((await store.cutoffs(None, now))[1]) for now in (LATER - 1, LATER)]

        assert told == [1, 0]

    async def test_the_cursor_misses_none(self, store: Store) -> None:
        """Who follows while many sessions end has heard of all of them afterwards."""
        sessions = [a_session() for _ in range(30)]
        await begin(store, *sessions)
        heard: set[str] = set()
        cursor, _ = await store.cutoffs(None, NOW)

        ends = [asyncio.ensure_future(store.end([session.sid], LOGOUT)) for session in sessions]
        while not all(end.done() for end in ends):
            cursor, cutoffs = await store.cutoffs(cursor, NOW)
            heard |= sids_of(cutoffs)
            await asyncio.sleep(0)
        heard |= sids_of((await store.cutoffs(cursor, NOW))[1])

        assert heard == sids_of(sessions)

    async def test_the_cursor_survives_a_sweep(self, store: Store) -> None:
        """What is _recorded after all older cutoffs were deleted is news."""
        old, new = a_session(), a_session()
        await begin(store, old, new)
        await store.end([old.sid], LOGOUT)
        cursor, _ = await store.cutoffs(None, NOW)
        await _sweep_through(store, replace(_KEEP_ALL, cutoffs=LATER + 1))

        await store.end([new.sid], LOGOUT)

        assert new.sid in sids_of((await store.cutoffs(cursor, NOW))[1])

    async def test_a_cutoff_before_the_wait_ends_it(self, store: Store) -> None:
        """What was _recorded since the last wait, and before this one, is not slept over."""
        await begin(store, session := a_session())
        await store.wait_for_change(0)
        await store.end([session.sid], LOGOUT)

        async with asyncio.timeout(self.patience):
            await store.wait_for_change(10 * self.patience)

    async def test_a_cutoff_during_the_wait_ends_it(self, store: Store) -> None:
        """Who waits is woken."""
        await begin(store, session := a_session())
        await store.wait_for_change(0)

        async with asyncio.timeout(self.patience), asyncio.TaskGroup() as tasks:
            tasks.create_task(store.wait_for_change(10 * self.patience))
            tasks.create_task(store.end([session.sid], LOGOUT))

    async def test_a_change_of_the_signing_keys_ends_the_wait(self, store: Store) -> None:
        """A key that was added, written anew, or dropped, as it may have leaked."""
        anew = replace(_a_key("a"), sealed=b"new")
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.add_signing_key(_a_key("a"), after=None),
            lambda: store.replace_signing_key(_a_key("a"), anew),
            lambda: store.drop_signing_keys(["a"], beside="a"),
        ]

        for change in changes:
            await store.wait_for_change(0)
            await change()
            async with asyncio.timeout(self.patience):
                await store.wait_for_change(10 * self.patience)

    async def test_waiting_ends_without_news(self, store: Store) -> None:
        """After as long as was asked for."""
        await store.wait_for_change(0)

        async with asyncio.timeout(self.patience):
            await store.wait_for_change(0.01)

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    async def test_events_are_told_newest_first(self, store: Store) -> None:
        """No more than asked for: of one session, or of a user and all their sessions."""
        one, two, other = a_session(), a_session(), a_session("bob")
        await begin(store, one, two, other)
        await store.end([one.sid], LOGOUT)
        ended, began = EventKind.ENDED, EventKind.SIGNED_IN

        of_one = await store.events(sid=one.sid, limit=9)
        of_ann = await store.events(user_id="ann", limit=2)

        assert [(event.kind, event.sid) for event in of_one] == [(ended, one.sid), (began, one.sid)]
        assert [(event.kind, event.sid) for event in of_ann] == [(ended, one.sid), (began, two.sid)]

    # ── signing keys ────────────────────────────────────────────────────────────────────────────

    async def test_signing_keys_are_kept_in_order(self, store: Store) -> None:
        """As they were added, byte for byte."""
        added = [
            await store.add_signing_key(_a_key("b"), after=None),
            await store.add_signing_key(_a_key("a"), after="b"),
        ]

        assert (added, await store.signing_keys()) == ([True, True], [_a_key("b"), _a_key("a")])

    async def test_a_signing_key_is_added_after_the_newest(self, store: Store) -> None:
        """Whoever knows an older state is refused."""
        await store.add_signing_key(_a_key("a"), after=None)
        await store.add_signing_key(_a_key("b"), after="a")

        added = [
            await store.add_signing_key(_a_key(f"after {after}"), after=after)
            for after in (None, "a", "unknown")
        ]

        assert (added, await store.signing_keys()) == ([False] * 3, [_a_key("a"), _a_key("b")])

    async def test_of_many_first_keys_one_is_added(self, store: Store) -> None:
        """However many processes start at once."""
        keys = [_a_key(f"key {number}") for number in range(10)]

        added = await asyncio.gather(*(store.add_signing_key(key, after=None) for key in keys))

        winners = [key for key, was_added in zip(keys, added, strict=True) if was_added]
        assert (len(winners), await store.signing_keys()) == (1, winners)

    async def test_a_signing_key_is_written_anew_in_its_place(self, store: Store) -> None:
        """Its seal and its time of first use; an unknown key is not added."""
        await store.add_signing_key(_a_key("a"), after=None)
        await store.add_signing_key(_a_key("b"), after="a")
        anew = replace(_a_key("a"), sealed=b"new", use_from=0)

        written = [
            await store.replace_signing_key(_a_key("a"), anew),
            await store.replace_signing_key(_a_key("unknown"), _a_key("unknown")),
        ]

        assert (written, await store.signing_keys()) == ([True, False], [anew, _a_key("b")])

    async def test_of_many_who_write_a_signing_key_anew_one_does(self, store: Store) -> None:
        """Whoever knows an older state is refused."""
        await store.add_signing_key(_a_key("a"), after=None)
        anew = [replace(_a_key("a"), sealed=b"new %d" % number) for number in range(10)]

        written = await asyncio.gather(
            *(store.replace_signing_key(_a_key("a"), each) for each in anew)
        )

        winners = [key for key, was_written in zip(anew, written, strict=True) if was_written]
        assert (len(winners), await store.signing_keys()) == (1, winners)

    async def test_signing_keys_are_dropped(self, store: Store) -> None:
        """Those that are named; an unknown one is no error. None beside one that is not there."""
        await store.add_signing_key(_a_key("a"), after=None)
        await store.add_signing_key(_a_key("b"), after="a")

        dropped = [
            await store.drop_signing_keys(["b"], beside="unknown"),
            await store.drop_signing_keys(["a", "unknown"], beside="b"),
            await store.drop_signing_keys(["b"], beside="a"),
        ]

        assert (dropped, await store.signing_keys()) == ([False, True, False], [_a_key("b")])

    async def test_of_two_who_drop_each_others_signing_key_one_does(self, store: Store) -> None:
        """Else none would be left."""
        left: list[SealedKey] = []
        for number in range(20):
            one, two = _a_key(f"one {number}"), _a_key(f"two {number}")
            newest = left[-1].kid if left else None
            await store.add_signing_key(one, after=newest)
            await store.add_signing_key(two, after=one.kid)
            if left:
                await store.drop_signing_keys([newest or ""], beside=two.kid)
            dropped = await asyncio.gather(
                store.drop_signing_keys([one.kid], beside=two.kid),
                store.drop_signing_keys([two.kid], beside=one.kid),
            )
            left = await store.signing_keys()

            assert sorted(dropped) == [False, True]
            assert left in ([one], [two])

    # ── sweep ───────────────────────────────────────────────────────────────────────────────────

    async def test_sweep_deletes_sessions_before_each_bound(self, store: Store) -> None:
        """Ended, begun or last used before the bound; what is of the very second stays."""
        ended, old, idle, fresh = (a_session() for _ in range(4))
        old = replace(old, created_at=NOW - 101, turned_at=NOW)
        idle = replace(idle, created_at=NOW - 100, turned_at=NOW - 51)
        fresh = replace(fresh, created_at=NOW - 100, turned_at=NOW - 50)
        await begin(store, ended, old, idle, fresh, just_ended := a_session())
        await store.end([ended.sid], LOGOUT)
        await store.end([just_ended.sid], replace(LOGOUT, at=NOW + 1))
        bounds = replace(_KEEP_ALL, ended=NOW + 1, created=NOW - 100, last_used=NOW - 50)

        deleted = await _sweep_through(store, bounds)

        sids = [session.sid for session in (ended, old, idle, fresh, just_ended)]
        assert (deleted, set(await store.get(sids))) == (3, {fresh.sid, just_ended.sid})
        assert await living(store) == {fresh.sid}

    async def test_sweep_deletes_old_cutoffs_and_events(self, store: Store) -> None:
        """Before their bounds; what is of the very second stays."""
        early, late = a_session(created_at=NOW), a_session(created_at=NOW + 1)
        await begin(store, early, late)
        await store.end([early.sid], Ending(EndReason.LOGGED_OUT, NOW, LATER))
        await store.end([late.sid], Ending(EndReason.LOGGED_OUT, NOW + 1, LATER + 1))

        deleted = await _sweep_through(store, replace(_KEEP_ALL, cutoffs=LATER + 1, events=NOW + 1))

        assert deleted == 3
        assert sids_of((await store.cutoffs(None, NOW))[1]) == {late.sid}
        assert {event.at for event in await _recorded(store)} == {NOW + 1}

    async def test_sweep_is_bounded_and_complete(self, store: Store) -> None:
        """One call looks at so many rows and no more; going on from call to call reaches all."""
        sessions = [a_session() for _ in range(7)]
        await begin(store, *sessions)
        await store.end([session.sid for session in sessions], LOGOUT)
        everything = SweepBounds(
            ended=LATER, created=LATER, last_used=LATER, cutoffs=LATER + 1, events=LATER
        )
        sids = [session.sid for session in sessions]

        deleted, after = await store.sweep(everything, after="", limit=3)
        left = len(await store.get(sids))
        rest = await _sweep_through(store, everything, limit=3)

        assert (left, bool(after)) == (4, True)
        assert deleted <= 9
        assert (deleted + rest, await store.get(sids)) == (7 + 7 + 14, {})
        assert await _recorded(store) == []

    async def test_sweep_goes_on_where_it_was(self, store: Store) -> None:
        """Rows that stay are passed over by the next call, and the end is told by an empty text."""
        await begin(store, *(a_session() for _ in range(5)))

        calls, after = 0, ""
        while True:
            _, after = await store.sweep(_KEEP_ALL, after=after, limit=2)
            calls += 1
            if not after or calls > 5:
                break

        assert (calls, len(await living(store))) == (3, 5)

    async def test_sweep_does_not_end_before_all_is_deleted(self, store: Store) -> None:
        """Also where there are far more cutoffs and events than sessions, and one that stays is
        the oldest.
        """
        await begin(store, a_session(created_at=LATER))
        await store.void_all(NOW, LATER + 1000)
        for version in range(7):
            await store.void_all(version, LATER)

        deleted = await _sweep_through(store, replace(_KEEP_ALL, cutoffs=LATER + 1), limit=2)

        assert deleted == 7

    # ── the store itself ────────────────────────────────────────────────────────────────────────

    async def test_a_sound_store_says_so(self, store: Store) -> None:
        """And its check leaves no trace."""
        await begin(store, session := a_session())

        await store.check()

        assert await store.list_sessions("ann") == [session]
