"""``Hooks``: who is told, when, and what becomes of what cannot be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.core.model import EventKind
from keyturn.hooks import Delivery, Hook, Hooks, Outbox, Undeliverable, open_outbox
from keyturn.hooks import courier as courier_module
from keyturn.observing import HookOutcome, Observer
from keyturn.stores.conformance import a_session, begin
from keyturn.stores.memory import MemoryStore
from tests.support import Clock, Meddling

HOUR = 3600
DELAYS = [5, 30, 120, 600, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR]


class Memory:
    """A hook that remembers what it was told, and fails as often as it is asked to."""

    def __init__(self, failures: int = 0) -> None:
        self.told: list[Delivery] = []
        self.failures = failures

    async def __call__(self, delivery: Delivery) -> None:
        self.told.append(delivery)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("No such address")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def outbox(store: MemoryStore) -> Outbox:
    return open_outbox(store)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def with_one_due(store: MemoryStore, outbox: Outbox, *hooks: str) -> None:
    for hook in hooks or ("mail",):
        await outbox.subscribe(hook)
    await begin(store, a_session())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  of what no event tells
            await asyncio.sleep(0)


async def test_a_hook_is_told_once_of_what_happens_while_it_listens(store: MemoryStore) -> None:
    hook = Memory()
    async with Hooks(store, {"mail": hook}):
        await begin(store, a_session())
        await until(lambda: not store.deliveries)

    assert [(d.event.kind, d.attempts) for d in hook.told] == [(EventKind.SIGNED_IN, 0)]


async def test_a_hook_is_told_later_of_what_happened_while_nobody_listened(
    store: MemoryStore,
) -> None:
    """In the order in which it happened."""
    async with Hooks(store, {"mail": Memory()}):
        pass
    sessions = [a_session() for _ in range(3)]
    for session in sessions:
        await begin(store, session)
    hook = Memory()
    async with Hooks(store, {"mail": hook}):
        await until(lambda: not store.deliveries)

    assert [delivery.event.sid for delivery in hook.told] == [session.sid for session in sessions]


async def test_a_hook_that_fails_is_tried_again_ever_later_and_then_given_up(
    store: MemoryStore, outbox: Outbox, clock: Clock
) -> None:
    """At each of its times, and no second before."""
    hook = Memory(failures=100)
    hooks = Hooks(store, {"mail": hook}, clock=clock)
    await with_one_due(store, outbox)
    outcomes = [await hooks.tell_due("mail")]
    for delay in DELAYS:
        clock.sleep(delay - 1)
        outcomes.append(await hooks.tell_due("mail"))
        clock.sleep(1)
        outcomes.append(await hooks.tell_due("mail"))
    clock.sleep(1000 * HOUR)

    assert outcomes == [False, *([None, False] * len(DELAYS))]
    assert await hooks.tell_due("mail") is None
    [dead] = await outbox.oldest("mail", given_up=True, limit=10)
    assert (dead.attempts, dead.error) == (10, "RuntimeError: No such address")


async def test_what_comes_of_each_try_is_told(
    store: MemoryStore, outbox: Outbox, clock: Clock
) -> None:
    """With how old the event is by then."""
    told: list[tuple[str, str, float]] = []

    class Notes(Observer):
        def tried_hook(self, hook: str, outcome: HookOutcome, seconds: float) -> None:
            told.append((hook, outcome, seconds))

    gone = Undeliverable("Gone")
    failing: dict[str, Hook] = {"mail": Memory(failures=1), "post": lambda _: raise_(gone)}
    hooks = Hooks(store, failing, clock=clock, observer=Notes())
    await with_one_due(store, outbox, "mail", "post")
    clock.now = a_session().created_at + 2
    await hooks.tell_due("mail")
    await hooks.tell_due("post")
    clock.sleep(5)
    await hooks.tell_due("mail")
    await hooks.tell_due("mail")

    assert told == [("mail", "put_off", 2), ("post", "given_up", 2), ("mail", "told", 7)]


async def test_what_succeeds_at_last_is_gone(
    store: MemoryStore, outbox: Outbox, clock: Clock
) -> None:
    hook = Memory(failures=1)
    hooks = Hooks(store, {"mail": hook}, clock=clock)
    await with_one_due(store, outbox)
    await hooks.tell_due("mail")
    clock.sleep(5)

    assert await hooks.tell_due("mail") is True
    assert await outbox.count("mail") == (0, 0)
    assert len({delivery.id for delivery in hook.told}) == 1


async def test_a_hook_that_fails_disturbs_no_other(store: MemoryStore) -> None:
    hook = Memory()
    async with Hooks(store, {"broken": Memory(failures=100), "mail": hook}):
        for _ in range(3):
            await begin(store, a_session())
        await until(lambda: len(hook.told) == 3)

    assert {delivery.hook for delivery in store.deliveries.values()} == {"broken"}


async def test_a_hook_that_hangs_has_failed(
    store: MemoryStore, outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "_LONGEST_CALL_SECONDS", 0.001)
    hooks = Hooks(store, {"mail": lambda _: asyncio.Event().wait()}, clock=clock)  # type: ignore[dict-item, return-value]
    await with_one_due(store, outbox)

    assert await hooks.tell_due("mail") is False
    [delivery] = await outbox.oldest("mail", given_up=False, limit=1)
    assert delivery.error == "TimeoutError"


async def test_no_hook_is_told_twice_at_once(store: MemoryStore, outbox: Outbox) -> None:
    """However many processes tell, and however long it takes."""
    clock, under_way, go_on = Clock(), asyncio.Event(), asyncio.Event()

    async def slow(_: Delivery) -> None:
        under_way.set()
        await go_on.wait()

    hooks = Hooks(store, {"mail": slow}, clock=clock)
    await with_one_due(store, outbox)
    first = asyncio.create_task(hooks.tell_due("mail"))
    await under_way.wait()
    clock.sleep(courier_module._LONGEST_CALL_SECONDS + 60)

    assert await hooks.tell_due("mail") is None
    go_on.set()
    assert await first is True


async def test_leaving_lets_a_hook_finish(store: MemoryStore, outbox: Outbox) -> None:
    under_way, finished = asyncio.Event(), asyncio.Event()

    async def slow(_: Delivery) -> None:
        under_way.set()
        await asyncio.sleep(0)
        finished.set()

    await with_one_due(store, outbox)
    async with Hooks(store, {"mail": slow}):
        await under_way.wait()

    assert finished.is_set()
    assert store.deliveries == {}


async def test_leaving_waits_no_longer_than_a_moment(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was to be told is told by somebody else."""
    monkeypatch.setattr(courier_module, "_GRACE_SECONDS", 0)
    under_way = asyncio.Event()

    async def hang(_: Delivery) -> None:
        under_way.set()
        await asyncio.Event().wait()

    await with_one_due(store, outbox)
    async with asyncio.timeout(10), Hooks(store, {"mail": hang}):
        await under_way.wait()

    assert await outbox.count("mail") == (1, 0)


async def test_a_store_that_fails_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(courier_module, "_POLL_SECONDS", 0.001)
    store = MemoryStore()
    outbox = Meddling(open_outbox(store))  # type: ignore[arg-type]

    async def fail() -> None:
        raise StoreUnavailable("The disk is full")

    outbox.before("take", fail)
    outbox.before("take", fail)
    hook = Memory()
    hooks = Hooks(store, {"mail": hook})
    hooks._outbox = outbox
    async with hooks:
        await begin(store, a_session())
        await until(lambda: not store.deliveries)

    assert len(hook.told) == 1
    assert [record.message for record in caplog.records] == [
        "cannot tell hook mail: The disk is full"
    ]


async def test_a_failure_is_logged_with_its_reason(
    store: MemoryStore, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = Hooks(store, {"mail": Memory(failures=1)}, clock=Clock())
    await with_one_due(store, outbox)
    await hooks.tell_due("mail")

    [record] = caplog.records
    assert record.message.endswith(": tried again in 5 s")
    assert vars(record)["reason"] == "RuntimeError: No such address"


async def raise_(error: BaseException) -> None:
    raise error


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a\0b\ud800\x1b"), "ValueError: a?b??"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 288),
        (Speechless(), "Speechless"),
        (asyncio.CancelledError(), "CancelledError"),
        (KeyError(), "KeyError"),
    ],
)
async def test_whatever_a_hook_raises_is_a_failure_in_words_that_can_be_kept(
    store: MemoryStore, outbox: Outbox, error: BaseException, told: str
) -> None:
    """Also where something that it awaits was cancelled."""
    hooks = Hooks(store, {"mail": lambda _: raise_(error)}, clock=Clock())
    await with_one_due(store, outbox)

    assert await hooks.tell_due("mail") is False
    [delivery] = await outbox.oldest("mail", given_up=False, limit=1)
    assert delivery.error == told


async def test_what_is_undeliverable_is_given_up_at_once(
    store: MemoryStore, outbox: Outbox
) -> None:
    hooks = Hooks(store, {"mail": lambda _: raise_(Undeliverable("Gone"))}, clock=Clock())
    await with_one_due(store, outbox)
    await hooks.tell_due("mail")

    assert await outbox.count("mail") == (0, 1)


async def test_a_subscription_that_was_lost_is_made_again(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a failover that loses it, or a restore."""
    monkeypatch.setattr(courier_module, "_POLL_SECONDS", 0.001)
    steady_clock = Clock()
    hook = Memory()
    async with Hooks(store, {"mail": hook}, steady_clock=steady_clock):
        await begin(store, a_session())
        await until(lambda: hook.told)
        store.hooks.clear()
        steady_clock.sleep(61)
        await until(lambda: "mail" in store.hooks)


async def test_leaving_waits_no_longer_for_a_hook_that_will_not_be_cancelled(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "_GRACE_SECONDS", 0)
    monkeypatch.setattr(courier_module, "_LAST_GRACE_SECONDS", 0)
    under_way, let_go = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Delivery) -> None:
        under_way.set()
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    await with_one_due(store, outbox)
    hooks = Hooks(store, {"mail": stubborn})
    async with asyncio.timeout(10), hooks:
        await under_way.wait()

    let_go.set()
    await asyncio.wait(hooks._tasks)


async def test_it_may_be_entered_again(store: MemoryStore) -> None:
    hook = Memory()
    hooks = Hooks(store, {"mail": hook})
    async with hooks:
        pass
    async with hooks:
        await begin(store, a_session())
        await until(lambda: not store.deliveries)

    assert len(hook.told) == 1


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_an_impossible_name_is_refused(store: MemoryStore, name: str) -> None:
    with pytest.raises(ConfigurationError, match="1 to 64 printable"):
        Hooks(store, {name: Memory()})
