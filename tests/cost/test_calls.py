"""How often functions of the package are called for an exchange and for a check: as often on every
machine, and with every Python.

What the interpreter and the libraries do beside that is counted by ``scripts/bench instructions``.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

import keyturn
from keyturn.core import base64url
from keyturn.sessions import Sessions
from keyturn.stores import open_store
from keyturn.stores.base import Store
from tests.support import Clock, loaded
from tests.wire.support import site

from .browsers import Browser
from .clients import AT_ONCE, PAST_WINDOW, Client, Crowd

CALLS: Final = {
    "check of a token seen before": 7,
    "check of another one": 20,
    "turn in memory": 94,
    "echo in memory": 62,
    "turn on PostgreSQL": 120,
    "turn on PostgreSQL, one of 64 at once": 73.8,
    "turn over HTTP, in memory": 142,
    "check over HTTP": 57,
}
TOLERANCE: Final = 0.05


def verdict(counted: dict[str, float]) -> str:
    """What to do about counts that are others than are pinned here; nothing where none is."""
    strays = [
        f"{what}: {count} calls, and {CALLS[what]} are pinned."
        for what, count in counted.items()
        if abs(count - CALLS[what]) > TOLERANCE * CALLS[what]
    ]
    if not strays:
        return ""
    table = "".join(f'\n    "{what}": {count},' for what, count in counted.items())
    return "\n".join(
        [
            "",
            *strays,
            "Where there are more, look for what is done in vain. If it is worth its price, or if",
            f"there are fewer, which is to stay so, make this what CALLS says: {{{table}\n}}",
        ]
    )


# ── counting ────────────────────────────────────────────────────────────────────────────────────

OURS: Final = str(Path(keyturn.__file__).parent)
INLINED: Final = {"<listcomp>", "<dictcomp>", "<setcomp>"}
"""Calls until Python 3.11, and none since (PEP 709)."""


@contextmanager
def counting() -> Iterator[set[FrameType]]:
    """The calls that this thread makes; that of a coroutine is one, however often it goes on."""
    calls: set[FrameType] = set()

    def see(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS) and code.co_name not in INLINED:
            calls.add(frame)

    sys.setprofile(see)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def calls_of(act: Callable[[], Awaitable[object]]) -> int:
    with counting() as calls:
        await act()
    return len(calls)


async def calls_on(store: Store) -> tuple[int, int, float]:
    """Of a turn, of an echo, and of a turn that is one of many at once."""
    clock = Clock()
    async with loaded(store, clock) as sessions:
        client, crowd = await Client.sign_in(sessions, clock), await Crowd.sign_in(sessions, clock)
        await crowd.turn()
        alone, echo = await calls_of(client.turn), await calls_of(client.echo)
        return alone, echo, round(await calls_of(crowd.turn) / AT_ONCE, 1)


async def calls_of_checks() -> tuple[int, int]:
    """Of a token that is seen for the first time, and of the same one again."""
    clock = Clock()
    async with loaded(await open_store("memory:"), clock) as sessions:
        client = await Client.sign_in(sessions, clock)
        return await calls_of(client.check), await calls_of(client.check)


async def calls_over_http() -> tuple[int, int]:
    """Of a turn, and of a check."""
    clock = Clock()
    async with site(clock) as here:
        browser = Browser(here, (await here.log_in()).refresh_token)
        for act in (browser.turn, browser.check):
            clock.sleep(PAST_WINDOW)
            await act()
        clock.sleep(PAST_WINDOW)
        return await calls_of(browser.turn), await calls_of(browser.check)


async def everything_counted(database: str) -> dict[str, float]:
    """As ``CALLS`` has it."""
    unseen, seen = await calls_of_checks()
    in_memory, echo, _ = await calls_on(await open_store("memory:"))
    on_postgres, _, at_once = await calls_on(await open_store(database, create=True))
    over_http, check_over_http = await calls_over_http()
    counts = (seen, unseen, in_memory, echo, on_postgres, at_once, over_http, check_over_http)
    return dict(zip(CALLS, counts, strict=True))


async def test_no_calls_were_added(database: str) -> None:
    """Within a tolerance for what is worth no word."""
    if told := verdict(await everything_counted(database)):
        pytest.fail(told)


async def test_calls_that_were_added_are_noticed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred, planted into the exchange: there is no kind of it that does not make them."""
    judge = Sessions._judge

    def wasteful(*given: Any) -> Any:
        for _ in range(100):
            base64url.encode(b"")
        return judge(*given)

    monkeypatch.setattr(Sessions, "_judge", wasteful)

    told = verdict(await everything_counted(database))

    exchanges = [what for what in CALLS if not what.startswith("check")]
    assert [what for what in exchanges if f"\n{what}: " in told] == exchanges
    assert "check" not in told.partition("Where")[0]
