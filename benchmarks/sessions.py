"""``Sessions`` on SQLite without HTTP: durable turns a second, and what a check costs.

Every exchange is a turn (the window is 0), every turn is fsynced before it is answered, and every
answer carries a new ES256 access token.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from keyturn import Claims, Sessions, open_store

from .measure import heading, median_of, per_call_us, shown
from .turning import ROUNDS, Callers, sessions_on, show_turns

CALLERS = 256


async def run() -> None:
    heading(f"Sessions.refresh on SQLite (synchronous=FULL), {CALLERS} callers in one process")
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"sqlite:///{Path(folder) / 'bench.db'}", create=True)
        async with sessions_on(store) as sessions:
            for count in (CALLERS, 1):
                callers = await Callers.sign_in(sessions, count)
                await show_turns(sessions, callers, {"Python": time.process_time})
            await _checks(sessions)


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
