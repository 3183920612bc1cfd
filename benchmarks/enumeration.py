"""How long refused logins take: of an unknown user, with a wrong password, of a disabled user.

Each attempt is a request of its own name and network, so nothing is slowed down by those before.
The three take turns, in an order that is drawn anew each time, so a machine that is slow for a
moment is slow for all of them. Passwords are hashed as on a server, users are on SQLite.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from keyturn import Sessions, open_store
from keyturn.accounts import Accounts, PasswordHashing, UserStore, open_users
from keyturn.accounts.model import User
from keyturn.core import base64url
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.http import Request, Response
from keyturn.wire.settings import WireSettings

from .measure import heading, median_of, shown

SAMPLES = 300
KINDS = ("unknown user", "wrong password", "disabled user")
URL = "https://example.com"
PASSWORD = "a deal of brass cogs"


def run() -> None:
    heading(f"Refused logins, {SAMPLES} of each kind, in turns")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_compare(Path(folder)))


async def _compare(folder: Path) -> None:
    store = await open_store(f"sqlite:///{folder / 'bench.db'}", create=True)
    async with Sessions(store, secrets=[bytes(range(32))], issuer=URL) as sessions:
        users = open_users(store)
        accounts = Accounts(users, sessions)
        await _add_users(users, sessions.now())
        endpoints = Endpoints(sessions, accounts, WireSettings(public_url=URL))
        took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        answers = set()
        for number in range(SAMPLES):
            for kind in random.sample(KINDS, len(KINDS)):
                began = time.perf_counter()
                answer = await endpoints.handle(_attempt(kind, number))
                took[kind].append((time.perf_counter() - began) * 1000)
                answers.add(_told_by(answer))
        accounts.close()
    _show(took, len(answers))


async def _add_users(users: UserStore, now: int) -> None:
    """Two for each sample, all with the same hash, as making many takes long."""
    hashing = PasswordHashing()
    password_hash = await hashing.hash(PASSWORD)
    hashing.close()
    for kind, disabled_at in (("wrong password", None), ("disabled user", now)):
        for number in range(SAMPLES):
            name = _name(kind, number)
            user = User(
                id=base64url.encode(random.randbytes(16)),
                username=name,
                email=f"{name}@example.com",
                fullname=name,
                created_at=now,
                disabled_at=disabled_at,
            )
            await users.add(user, password_hash)


def _attempt(kind: str, number: int) -> Request:
    password = "quite another" if kind == "wrong password" else PASSWORD
    body = json.dumps({"username": _name(kind, number), "password": password}).encode()
    headers = [(b"content-type", b"application/json")]
    network = f"10.{KINDS.index(kind)}.{number // 256}.{number % 256}"
    return Request("POST", "/login", b"", headers, body, network)


def _name(kind: str, number: int) -> str:
    return f"{kind.replace(' ', '-')}-{number:03}"


def _told_by(answer: Response) -> tuple[object, ...]:
    """All that a client sees."""
    return answer.status, tuple(answer.headers), answer.body


def _show(took: Mapping[str, Sequence[float]], answers: int) -> None:
    print(f"different answers                 {answers}")
    for kind, figures in took.items():
        print(f"{kind + ': ms':<34}{shown(figures, 2)}")
    medians = [median_of(figures) for figures in took.values()]
    print(f"largest median / least            {max(medians) / min(medians):.3f}")
