"""What a worker carries over HTTP, and its memory after a minute of exchanges and checks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.postgresql import free_port, running

from keyturn import Sessions, open_store

from .measure import heading
from .processes import cpu_seconds, largest_mb, serving
from .processes import run as run_to_end

SECONDS = 60
SECONDS_ALONE = 10
SESSIONS = 10_000
CONNECTIONS = 32
LOGIN = {"username": "ada", "password": os.urandom(12).hex()}


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _measure("SQLite", Path(folder), f"sqlite:///{folder}/keyturn.db")
    with running() as server, tempfile.TemporaryDirectory() as folder:
        _measure("PostgreSQL", Path(folder), asyncio.run(server.new_database()))


def _measure(where: str, folder: Path, url: str) -> None:
    heading(f"keyturn serve on {where}, one worker: {SECONDS} s of exchanges and checks")
    port = free_port()
    environment = {
        "KEYTURN_DATA_DIR": str(folder), "KEYTURN_DATABASE_URL": url, "KEYTURN_LOG_LEVEL": "error",
    }  # fmt: skip
    keyturn = Path(sys.executable).with_name("keyturn")
    run_to_end([keyturn, "init"], environment)
    tokens = asyncio.run(_begin_sessions(folder, url))
    serve: list[str | Path] = [keyturn, "serve", "--port", str(port)]
    with serving(serve, port, environment, log=folder / "log") as pid:
        print(f"memory before: MB                 {largest_mb(pid):.1f}")
        answers = asyncio.run(_load(port))
        print(f"answers by status                 {dict(answers)}")
        print(f"memory after: MB                  {largest_mb(pid):.1f}")
        exchange = partial(_exchange, tokens)
        for what, ask in (("exchanges", exchange), ("checks", _check), ("logins", _log_in)):
            rate, used = asyncio.run(_repeat(pid, port, ask))
            print(f"{what} alone: a second, CPU ms".ljust(33), f"{rate:.0f}, {used:.2f}")


async def _load(port: int) -> Counter[str]:
    answers: Counter[str] = Counter()
    first = await _Client.connect(port)
    user = {"username": "ada", "email": "ada@example.com", "fullname": "Ada"}
    await first.call("POST", "/register", {**user, "password": LOGIN["password"]})

    async def work(client: _Client, held: dict[str, str]) -> None:
        while time.monotonic() < until:
            status, answer = await client.call(
                "POST", "/refresh-token", {"refreshToken": held["refreshToken"]}
            )
            answers[status] += 1
            held = answer.get("data", held)
            for _ in range(4):
                status, _ = await client.call("GET", "/me", bearer=held["accessToken"])
                answers[status] += 1

    signed_in = await _signed_in(port)
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(work(client, held) for client, held in signed_in))
    return answers


async def _signed_in(port: int) -> list[tuple[_Client, dict[str, str]]]:
    signed_in = []
    for _ in range(CONNECTIONS):  # one by one: what is measured is not the hashing
        client = await _Client.connect(port)
        _, answer = await client.call("POST", "/login", LOGIN)
        signed_in.append((client, answer["data"]))
    return signed_in


async def _begin_sessions(folder: Path, url: str) -> list[str]:
    """The refresh tokens of sessions that were begun long enough ago to be turned at once."""
    secret = (folder / "secret").read_text().strip().encode()
    store = await open_store(url)
    begun = Sessions(store, secrets=[secret], issuer="x", clock=lambda: time.time() - 100)
    async with begun as sessions:
        return [(await sessions.create(f"user-{i}")).refresh_token for i in range(SESSIONS)]


async def _repeat(pid: int, port: int, ask: Callable[..., Awaitable[str]]) -> tuple[float, float]:
    """How many a second were answered as they should be, in a while or until there were no more;
    and what each took of the server's CPU, in milliseconds.
    """
    signed_in = await _signed_in(port)
    began, used = time.monotonic(), cpu_seconds(pid)
    until = began + SECONDS_ALONE
    count = 0

    async def work(client: _Client, held: dict[str, str]) -> None:
        nonlocal count
        while time.monotonic() < until and (status := await ask(client, held)):
            count += status == "200"

    await asyncio.gather(*(work(client, held) for client, held in signed_in))
    return count / (time.monotonic() - began), 1000 * (cpu_seconds(pid) - used) / count


async def _exchange(tokens: list[str], client: _Client, _: dict[str, str]) -> str:
    """Each once: a second exchange in the window would be a repetition, and no turn."""
    if not tokens:
        return ""
    return (await client.call("POST", "/refresh-token", {"refreshToken": tokens.pop()}))[0]


async def _check(client: _Client, held: dict[str, str]) -> str:
    return (await client.call("GET", "/me", bearer=held["accessToken"]))[0]


async def _log_in(client: _Client, _: dict[str, str]) -> str:
    return (await client.call("POST", "/login", LOGIN))[0]


class _Client:
    """One HTTP/1.1 connection that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> _Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def call(
        self, method: str, path: str, body: object = None, *, bearer: str = ""
    ) -> tuple[str, dict]:  # type: ignore[type-arg]
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        if content:
            lines.append("Content-Type: application/json")
        if bearer:
            lines.append(f"Authorization: Bearer {bearer}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        answer = await self._reader.readexactly(int(length[1]) if length else 0)
        return head.split(" ", 2)[1], json.loads(answer)
