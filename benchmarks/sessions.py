"""``Sessions`` on SQLite without HTTP: durable turns a second, and what a check costs.

Every exchange is a turn (the window is 0), every turn is fsynced before it is answered, and every
answer carries a new ES256 access token.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path

from keyturn import Claims, Policy, Sessions, open_store

from .measure import heading, median_of, per_call_us, shown

ROUNDS = 5
SECONDS = 3.0
CALLERS = 256


async def run() -> None:
    heading(f"Sessions.refresh on SQLite (synchronous=FULL), {CALLERS} callers in one process")
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"sqlite:///{Path(folder) / 'bench.db'}", create=True)
        async with Sessions(
            store,
            secrets=[os.urandom(32)],
            issuer="https://example.com",
            policy=Policy(retry_window=0),
        ) as sessions:
            await _turns(sessions, CALLERS)
            await _turns(sessions, 1)
            await _checks(sessions)


async def _turns(sessions: Sessions, callers: int) -> None:
    tokens = [await _signed_in(sessions, number) for number in range(callers)]
    await _round(sessions, tokens, SECONDS)  # lets the write-ahead log grow once
    rates, costs, batches = [], [], []
    for _ in range(ROUNDS):
        calls, items = sessions._swaps.calls, sessions._swaps.items  # noqa: SLF001
        cpu, wall = time.process_time(), time.perf_counter()
        turns = await _round(sessions, tokens, SECONDS)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rates.append(turns / wall)
        costs.append(cpu / turns * 1e6)
        calls, items = sessions._swaps.calls - calls, sessions._swaps.items - items  # noqa: SLF001
        batches.append(items / calls if calls else 1)  # alone, they are not gathered at all
    print(f"{callers} callers: turns a second   {shown(rates, 0)}")
    print(f"{callers} callers: CPU µs a turn    {shown(costs)}")
    print(f"{callers} callers: turns a commit   {shown(batches)}")


async def _signed_in(sessions: Sessions, number: int) -> str:
    claims = Claims(username=f"user{number}", email=f"user{number}@example.com", fullname="A User")
    return (await sessions.create(f"user-{number}", claims)).refresh_token


async def _round(sessions: Sessions, tokens: list[str], seconds: float) -> int:
    until = time.perf_counter() + seconds

    async def caller(number: int) -> int:
        turns = 0
        while time.perf_counter() < until:
            tokens[number] = (await sessions.refresh(tokens[number])).refresh_token
            turns += 1
        return turns

    return sum(await asyncio.gather(*(caller(number) for number in range(len(tokens)))))


async def _checks(sessions: Sessions) -> None:
    seen = (await sessions.create("ada", Claims(username="ada"))).access_token
    sessions.verify(seen)
    raw = seen.encode()  # as a request brings it: a new string each time
    known = [per_call_us(lambda: sessions.verify(raw.decode()), 200_000) for _ in range(ROUNDS)]
    unseen, bare = [], []
    key = sessions.keyring.signing_key(sessions.now())
    for _ in range(ROUNDS):
        fresh = iter([(await sessions.create(f"u{n}")).access_token for n in range(500)])
        unseen.append(per_call_us(lambda: sessions.verify(next(fresh)), 500))  # noqa: B023
        signature = key.sign(b"x" * 400)
        bare.append(per_call_us(lambda: key.verify(signature, b"x" * 400), 500))  # noqa: B023
    print(f"verify, seen before: µs           {shown(known, 2)}")
    print(f"verify, unseen: µs                {shown(unseen)}")
    print(f"the signature alone: µs           {shown(bare)}")
    print(f"unseen / signature                {median_of(unseen) / median_of(bare):.2f}")
