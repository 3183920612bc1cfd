"""Instructions of the processor for one exchange and for one check, on a store in memory: the same
ones however busy the machine is, so that a percent shows.

Valgrind counts them, in processes that do a thing some times and some times more: the difference
leaves out the start. ``python -m benchmarks.instructions WHAT TIMES`` is what it runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.cost.browsers import Browser
from tests.cost.clients import PAST_WINDOW, Client
from tests.support import Clock, loaded
from tests.wire.support import site

from keyturn import open_store

from .measure import heading

TIMES: Final = (50, 200)


def run() -> None:
    heading("Instructions of one, store in memory")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for what, count in zip(_WORK, pool.map(_instructions_of, _WORK), strict=True):
            print(f"{what:36}{count:12,.0f}")


def _instructions_of(what: str) -> float:
    few, many = (_instructions(what, times) for times in TIMES)
    return (many - few) / (TIMES[1] - TIMES[0])


def _instructions(what: str, times: int) -> int:
    done = subprocess.run(
        [
            "valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null",
            sys.executable, "-m", __name__, what, str(times),
        ],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(re.findall(r"I\s+refs:\s+([\d,]+)", done.stderr)[0].replace(",", ""))


# ── what is counted ─────────────────────────────────────────────────────────────────────────────


async def _turn(times: int) -> None:
    async with loaded(await open_store("memory:"), clock := Clock()) as sessions:
        client = await Client.sign_in(sessions, clock)
        await _repeat(times, client.turn)


async def _check_unseen(times: int) -> None:
    """Every one is of a new token, whose making is not counted."""
    async with loaded(await open_store("memory:"), Clock()) as sessions:
        signed_in = [await sessions.create(f"user-{number}") for number in range(max(TIMES))]
        for tokens in signed_in[:times]:
            sessions.verify(tokens.access_token)


async def _checks_seen(times: int) -> None:
    """A hundred each time, as one is little beside what else differs between two processes."""
    async with loaded(await open_store("memory:"), clock := Clock()) as sessions:
        client = await Client.sign_in(sessions, clock)
        await _repeat(100 * times, client.check)


async def _turn_over_http(times: int) -> None:
    clock = Clock()
    async with site(clock) as here:
        browser = Browser(here, (await here.log_in()).refresh_token)
        for _ in range(times):
            clock.sleep(PAST_WINDOW)
            await browser.turn()


async def _check_over_http(times: int) -> None:
    clock = Clock()
    async with site(clock) as here:
        browser = Browser(here, (await here.log_in()).refresh_token)
        clock.sleep(PAST_WINDOW)
        await browser.turn()
        await _repeat(times, browser.check)


async def _repeat(times: int, act: Callable[[], Awaitable[object]]) -> None:
    for _ in range(times):
        await act()


_WORK: Final[dict[str, Callable[[int], Any]]] = {
    "turn": _turn,
    "turn over HTTP": _turn_over_http,
    "100 checks of a token seen before": _checks_seen,
    "check of another one": _check_unseen,
    "check over HTTP": _check_over_http,
}

if __name__ == "__main__":
    asyncio.run(_WORK[sys.argv[1]](int(sys.argv[2])))
