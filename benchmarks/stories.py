"""How long it takes to tell what became of a session, beside a million events of others."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from tests.postgresql import running

from keyturn import Event, EventKind, Session, Store, open_store
from keyturn.core import base64url
from keyturn.core.model import Device
from keyturn.stores.base import Swap
from keyturn.stores.conformance import NOW, turned

from .measure import heading, shown
from .turning import sessions_on

SESSIONS = 50_000
EVENTS_EACH = 20  # the sign-in, and lost answers
ASKED = 300
BATCH = 500
DEVICE = Device(user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", address="192.0.2.1")


def run() -> None:
    heading(f"Why a session ended, beside {SESSIONS * EVENTS_EACH:,} events: milliseconds")
    with tempfile.TemporaryDirectory() as folder, running() as server:
        file = Path(folder) / "keyturn.db"
        sids = _run(f"sqlite:///{file}", "SQLite")
        _show_command(folder, sids)
        _run(asyncio.run(server.new_database()), "PostgreSQL")


def _run(url: str, name: str) -> list[str]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_ask(url, name))


async def _ask(url: str, name: str) -> list[str]:
    store = await open_store(url, create=True)
    sids = await _fill(store)
    asked = random.sample(sids, ASKED)
    times = []
    async with sessions_on(store) as sessions:
        for sid in asked:
            began = time.perf_counter()
            _, events = await sessions.history(sid, limit=1000)
            times.append((time.perf_counter() - began) * 1000)
            assert len(events) == EVENTS_EACH
    print(f"{name}: the story of one".ljust(38), shown(times, 2))
    return asked


async def _fill(store: Store) -> list[str]:
    sessions = [_session(number) for number in range(SESSIONS)]
    for session in sessions:
        await store.add(session, limit=50, replaces=None, epoch=0, tokens_until=NOW + 1000)
    for _ in range(EVENTS_EACH - 1):
        for start in range(0, SESSIONS, BATCH):
            batch = sessions[start : start + BATCH]
            after = [turned(session) for session in batch]
            await store.swap(
                [Swap(old, new, _lost(old)) for old, new in zip(batch, after, strict=True)]
            )
            sessions[start : start + BATCH] = after
    return [session.sid for session in sessions]


def _session(number: int) -> Session:
    return Session(
        sid=base64url.encode(os.urandom(16)),
        user_id=f"user-{number}",
        secret=os.urandom(32),
        created_at=NOW,
        device=DEVICE,
    )


def _lost(session: Session) -> Event:
    return Event(at=NOW, kind=EventKind.RECOVERED, user_id=session.user_id, sid=session.sid)


def _show_command(folder: str, sids: list[str]) -> None:
    """The whole of it, with the start of Python."""
    environment = os.environ | {
        "KEYTURN_DATA_DIR": folder,
        "KEYTURN_SECRET": "0123456789abcdefghijklmnopqrstuv",
    }
    program = str(Path(sys.executable).with_name("keyturn"))
    times = []
    for sid in sids[:10]:
        began = time.perf_counter()
        subprocess.run(
            [program, "sessions", "why", sid], env=environment, check=True, capture_output=True
        )
        times.append((time.perf_counter() - began) * 1000)
    print("SQLite: keyturn sessions why, whole".ljust(38), shown(times, 0))
