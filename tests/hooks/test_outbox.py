"""What every outbox does, wherever it keeps its deliveries."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keyturn.accounts import open_users
from keyturn.accounts.model import User
from keyturn.core.errors import ConfigurationError
from keyturn.core.model import Device, EndReason, Event, EventKind, Session
from keyturn.hooks import Delivery, Outbox, open_outbox
from keyturn.hooks import postgres as postgres_module
from keyturn.hooks import sqlite as sqlite_module
from keyturn.observing import Observer, observed
from keyturn.stores import Store, open_store
from keyturn.stores.base import PAST_ALL, Ending, Swap, SweepBounds
from keyturn.stores.conformance import NOW, a_session, begin, turned
from keyturn.stores.memory import MemoryStore
from keyturn.stores.postgres import PostgresStore
from keyturn.stores.sqlite import SQLiteStore

SOON = NOW + 60
LATEST = NOW + 10**6
ENDING = Ending(EndReason.LOGGED_OUT, NOW + 1, NOW + 1000)


async def taken(outbox: Outbox, hook: str = "mail", *, now: int = NOW) -> Delivery:
    delivery = await outbox.take(hook, now=now, until=now + 60, latest=LATEST)
    assert delivery is not None
    return delivery


async def begun(store: Store, **fields: Any) -> Session:
    session = a_session(**fields)
    await begin(store, session)
    return session


async def kinds(outbox: Outbox, hook: str = "mail") -> list[EventKind]:
    return [d.event.kind for d in await outbox.oldest(hook, given_up=False, limit=100)]


async def given_up(store: Store, outbox: Outbox, count: int = 1) -> list[Delivery]:
    await outbox.subscribe("mail")
    for _ in range(count):
        await begun(store)
        await outbox.put_off(await taken(outbox), due_at=None, error="Gone")
    return await outbox.oldest("mail", given_up=True, limit=100)


async def test_an_event_is_kept_for_each_hook_there_is(store: Store, outbox: Outbox) -> None:
    """Whole, and from the subscription on."""
    await begun(store)
    await outbox.subscribe("mail")
    await outbox.subscribe("audit")
    await outbox.subscribe("audit")
    device = Device(user_agent='A "browser" é', address="192.0.2.1")
    session = await begun(store, device=device)

    signed_in = Event(
        at=session.created_at,
        kind=EventKind.SIGNED_IN,
        user_id=session.user_id,
        sid=session.sid,
        device=device,
    )
    assert await outbox.subscribed() == ["audit", "mail"]
    for hook in ("mail", "audit"):
        [delivery] = await outbox.oldest(hook, given_up=False, limit=100)
        assert delivery.event == signed_in
        assert (delivery.hook, delivery.attempts, len(delivery.id)) == (hook, 0, 32)


async def test_every_way_of_recording_an_event_tells(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    session = await begun(store)
    recovered = Event(at=NOW, kind=EventKind.RECOVERED, user_id=session.user_id, sid=session.sid)
    await store.swap([Swap(session, turned(session), recovered)])
    await store.set_claims(
        session.user_id, session.claims, at=NOW, least_version=1, tokens_until=NOW + 1000
    )
    await store.end([session.sid], ENDING)

    told = await outbox.oldest("mail", given_up=False, limit=100)
    assert [delivery.event.kind for delivery in told] == [
        EventKind.SIGNED_IN,
        EventKind.RECOVERED,
        EventKind.CLAIMS_CHANGED,
        EventKind.ENDED,
    ]
    assert [delivery.event.sid for delivery in told] == [
        session.sid,
        session.sid,
        None,
        session.sid,
    ]
    assert told[-1].event.reason is EndReason.LOGGED_OUT


async def test_a_hook_that_unsubscribed_is_told_nothing(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    await outbox.subscribe("audit")
    await begun(store)
    await outbox.unsubscribe("mail")
    await begun(store)

    assert await outbox.subscribed() == ["audit"]
    assert (await kinds(outbox), len(await kinds(outbox, "audit"))) == ([], 2)


async def test_the_one_that_has_been_due_for_longest_is_taken(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    first = await begun(store)
    second = await begun(store)
    delivery = await taken(outbox)
    await outbox.put_off(delivery, due_at=SOON, error="Busy")

    assert delivery.event.sid == first.sid
    assert (await taken(outbox)).event.sid == second.sid
    assert await outbox.take("mail", now=SOON - 1, until=SOON, latest=LATEST) is None
    again = await taken(outbox, now=SOON)
    assert (again.id, again.attempts, again.error) == (delivery.id, 1, "Busy")


async def test_what_was_taken_is_due_again_if_nobody_says_what_became_of_it(
    store: Store, outbox: Outbox
) -> None:
    await outbox.subscribe("mail")
    await begun(store)
    first = await taken(outbox)

    assert await outbox.take("mail", now=NOW + 59, until=NOW + 100, latest=LATEST) is None
    assert (await taken(outbox, now=NOW + 60)).id == first.id


async def test_of_those_who_take_at_once_each_gets_another(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    for _ in range(8):
        await begun(store)

    all_taken = await asyncio.gather(*(taken(outbox) for _ in range(8)))
    assert len({delivery.id for delivery in all_taken}) == 8


async def test_what_was_told_is_gone(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    await begun(store)
    await outbox.drop(await taken(outbox))

    assert await outbox.count("mail") == (0, 0)


async def test_whoever_took_longer_than_a_delivery_was_theirs_changes_nothing(
    store: Store, outbox: Outbox
) -> None:
    """Another is telling by now."""
    await outbox.subscribe("mail")
    await begun(store)
    slow = await taken(outbox)
    await taken(outbox, now=SOON)
    await outbox.put_off(slow, due_at=None, error="Slow")

    assert await outbox.count("mail") == (1, 0)


async def test_what_was_given_up_stays_and_is_not_due(store: Store, outbox: Outbox) -> None:
    [delivery] = await given_up(store, outbox)

    assert (delivery.due_at, delivery.error) == (None, "Gone")
    assert await outbox.take("mail", now=2**40, until=2**40, latest=2**41) is None
    assert await outbox.count("mail") == (0, 1)


@pytest.mark.parametrize("everything", [True, False])
async def test_what_was_given_up_can_be_tried_again(
    store: Store, outbox: Outbox, *, everything: bool
) -> None:
    first, *_ = await given_up(store, outbox, count=3)

    retried = await outbox.retry("mail", None if everything else [first.id, "unknown"])
    assert retried == (3 if everything else 1)
    assert await outbox.count("mail") == (retried, 3 - retried)
    assert (await taken(outbox)).attempts == 0


@pytest.mark.parametrize("everything", [True, False])
async def test_what_was_given_up_can_be_dropped(
    store: Store, outbox: Outbox, *, everything: bool
) -> None:
    first, *_ = await given_up(store, outbox, count=3)
    await begun(store)

    dropped = await outbox.discard("mail", None if everything else [first.id, "unknown"])
    assert dropped == (3 if everything else 1)
    assert await outbox.count("mail") == (1, 3 - dropped)


async def test_what_is_as_old_as_events_may_be_is_swept(store: Store, outbox: Outbox) -> None:
    await outbox.subscribe("mail")
    await begun(store, created_at=NOW - 1)
    await begun(store, created_at=NOW)
    bounds = SweepBounds(ended=0, created=0, last_used=0, cutoffs=0, events=NOW)
    await store.sweep(bounds, after=PAST_ALL, limit=100)

    assert [d.event.at for d in await outbox.oldest("mail", given_up=False, limit=9)] == [NOW]


async def test_of_a_user_who_was_deleted_no_device_is_kept(store: Store, outbox: Outbox) -> None:
    """D11: nor is it told any more."""
    await outbox.subscribe("mail")
    users = open_users(store)
    user = User(id="ada", username="ada", email="ada@example.com", fullname="Ada", created_at=NOW)
    await users.add(user, "hash")
    await begun(store, user_id="ada", device=Device(address="192.0.2.1"))
    await outbox.put_off(await taken(outbox), due_at=NOW + 9, error="No ada@example.com here")
    await users.delete("ada", ENDING)

    told = await outbox.oldest("mail", given_up=False, limit=9)
    assert [delivery.event.kind for delivery in told] == [EventKind.SIGNED_IN, EventKind.ENDED]
    assert {(delivery.event.device, delivery.error) for delivery in told} == {(Device(), "")}


async def test_one_that_failed_comes_before_what_happened_later(
    store: Store, outbox: Outbox
) -> None:
    """However much happens: else it would never be its turn."""
    await outbox.subscribe("mail")
    first = await begun(store)
    await outbox.put_off(await taken(outbox), due_at=NOW + 5, error="Busy")
    await begun(store, created_at=NOW + 6)

    assert (await taken(outbox, now=NOW + 7)).event.sid == first.sid


async def test_what_a_wrong_clock_put_off_is_due_now(store: Store, outbox: Outbox) -> None:
    """Else it would be swept before its time comes. What is due by right comes first."""
    await outbox.subscribe("mail")
    first = await begun(store)
    await outbox.put_off(await taken(outbox), due_at=LATEST + 1, error="Busy")
    second = await begun(store)

    assert [(await taken(outbox)).event.sid for _ in range(2)] == [second.sid, first.sid]


async def test_to_be_taken_is_no_attempt(store: Store, outbox: Outbox) -> None:
    """Whoever took it may have been killed, or be of a release that does not know the event."""
    await outbox.subscribe("mail")
    await begun(store)
    for time in range(0, 600, 60):
        await taken(outbox, now=NOW + time)

    assert (await taken(outbox, now=NOW + 600)).attempts == 0


async def test_of_a_hook_that_is_gone_nothing_stays(store: Store, outbox: Outbox) -> None:
    """As of an event that was under way while it unsubscribed."""
    await outbox.subscribe("mail")
    await begun(store)
    await forget_subscription(store)
    bounds = SweepBounds(ended=0, created=0, last_used=0, cutoffs=0, events=0)
    await store.sweep(bounds, after=PAST_ALL, limit=100)

    assert await outbox.count("mail") == (0, 0)


async def forget_subscription(store: Store) -> None:
    match store:
        case MemoryStore():
            store.hooks.clear()
        case SQLiteStore():
            await store.engine.write(lambda connection: connection.execute("DELETE FROM hook"))
        case PostgresStore():
            query = "DELETE FROM keyturn.hook"
            await store.engine.run(lambda connection: connection.execute(query))


async def test_many_are_changed_in_batches(
    store: Store, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no statement takes too long."""
    for module in (sqlite_module, postgres_module):
        monkeypatch.setattr(module, "_SOME", 2)
    await given_up(store, outbox, count=5)

    assert await outbox.retry("mail", None) == 5
    for _ in range(5):
        await outbox.put_off(await taken(outbox), due_at=None, error="Gone")
    assert await outbox.discard("mail", None) == 5
    await given_up(store, outbox, count=5)
    await outbox.unsubscribe("mail")
    assert await outbox.count("mail") == (0, 0)


async def test_a_device_of_any_text_is_told(store: Store, outbox: Outbox) -> None:
    """Applications of their own may pass on what they were sent."""
    await outbox.subscribe("mail")
    device = Device(user_agent="a\0b\x1b\u2028\U0001f511")
    await begun(store, user_id="ada", device=device)

    assert (await taken(outbox)).event.device == device


async def test_the_store_may_be_observed(store: Store) -> None:
    outbox = open_outbox(observed(store, Store, Observer(), lambda: 0.0))
    await outbox.subscribe("mail")

    assert await outbox.subscribed() == ["mail"]


async def test_a_store_of_another_kind_has_no_hooks() -> None:
    with pytest.raises(ConfigurationError, match="of a kind that has no hooks"):
        open_outbox(object())  # type: ignore[arg-type]


async def test_deliveries_outlive_the_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keyturn.db'}"
    store = await open_store(url, create=True)
    await open_outbox(store).subscribe("mail")
    await begun(store)
    await store.close()
    store = await open_store(url)

    assert await kinds(open_outbox(store)) == [EventKind.SIGNED_IN]
    await store.close()
