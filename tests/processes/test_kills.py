"""A server is killed with SIGKILL in the middle of an exchange, and its clients ask another one."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from subprocess import PIPE
from typing import Final

import apsw
import msgspec
import pytest

from keyturn.core.errors import RefreshTokenReused
from keyturn.core.model import Policy, Tokens
from keyturn.stores import open_store
from keyturn.wire.settings import REFRESH_PATH
from tests.processes import doomed
from tests.processes.doomed import Doom, Point
from tests.processes.http_client import connected
from tests.processes.servers import listening
from tests.processes.team import PATIENCE, ROOT
from tests.support import Clock, loaded

KILLS: Final = {"sqlite": 50, "postgresql": 24}
POINTS: Final = [
    *(("sqlite", point) for point in Point if point is not Point.DURING_COMMIT),
    *(("postgresql", point) for point in Point),
]
"""Only a server commits without the process that asked for it."""
CLIENTS: Final = 3
HOUR: Final = 3600
WAYS: Final = tuple(itertools.product((True, False), (0, HOUR)))
"""Whether another process has the store open when one is killed, and how long its clients wait."""


class Doomed:
    """Servers that die, and the port where the next one will serve."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port

    async def exchange(self, tokens: list[str], doom: Doom) -> None:
        """Have a server die while it exchanges all the tokens at once, and answer nobody."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(doom) + b"\n")
        async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(self._port)) for _ in tokens]
            for client in clients:  # so that this server has accepted all of them
                assert (await client.get("/healthz")).status == 200
            exchanges = zip(clients, tokens, strict=True)
            outcomes = await asyncio.gather(
                *(client.post(REFRESH_PATH, refreshToken=token) for client, token in exchanges),
                return_exceptions=True,
            )
        assert all(isinstance(outcome, ConnectionError) for outcome in outcomes)
        assert int(await self._process.stdout.readline()) == signal.SIGKILL


@asynccontextmanager
async def doomed_servers(url: str) -> AsyncIterator[Doomed]:
    with listening() as listener:
        command = [sys.executable, "-m", doomed.__name__, url, str(listener.fileno())]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        try:
            yield Doomed(process, listener.getsockname()[1])
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def kill_again_and_again(
    url: str, point: Point, kills: int, policy: Policy | None = None
) -> Counter[int]:
    """How many turns a session made between two answers that its client got."""
    clock = Clock()
    async with loaded(await open_store(url, create=True), clock) as sessions:
        pairs = [await sessions.create(f"user-{number}") for number in range(CLIENTS)]
    turns: Counter[int] = Counter()
    async with doomed_servers(url) as servers:
        for beside, patience in itertools.islice(itertools.cycle(WAYS), kills):
            clock.sleep(HOUR)
            tokens = [pair.refresh_token for pair in pairs]
            killed = servers.exchange(tokens, Doom(point, int(clock.now)))
            if not beside:
                await killed
            async with loaded(await open_store(url), clock, policy=policy) as sessions:
                if beside:
                    await killed
                clock.sleep(patience)
                renewed = [await sessions.refresh(token) for token in tokens]
                named = [sessions.verify(pair.access_token).sid for pair in renewed]
            assert named == [pair.session.sid for pair in pairs]
            assert is_sound(url)
            turns.update(map(turns_between, pairs, renewed))
            pairs = renewed
    return turns


def turns_between(older: Tokens, newer: Tokens) -> int:
    return newer.session.generation - older.session.generation


def is_sound(url: str) -> bool:
    """Of a server it need not be asked, as no client writes to its files."""
    kind, _, file = url.partition(":///")
    if kind != "sqlite":
        return True
    connection = apsw.Connection(file)
    try:
        return bool(connection.pragma("integrity_check") == "ok")
    finally:
        connection.close()


@pytest.mark.parametrize(("kind", "point"), POINTS, indirect=["kind"])
async def test_a_killed_server_logs_nobody_out(kind: str, url: str, point: Point) -> None:
    """C4, C9: the token that a client holds is good, in the window and later, and nothing forks:
    a turn that was committed unseen is followed by at most one more, and only after the window.
    """
    kills = KILLS[kind]
    turns = await kill_again_and_again(url, point, kills)

    print(f"{kills} kills {point}, turns of {CLIENTS} sessions: {dict(turns)}")
    assert turns.total() == kills * CLIENTS
    assert set(turns) <= {1, 2}
    committed = point in {Point.DURING_COMMIT, Point.AFTER_COMMIT, Point.BEFORE_ANSWER}
    assert turns[2] >= kills // 2 if committed else turns[2] == 0


async def test_where_answers_must_not_be_lost_the_kills_log_people_out(url: str) -> None:
    """The proof that the kills come where they should: strict single use does not survive them."""
    strict = Policy(retry_window=0, recover=False)

    with pytest.raises(RefreshTokenReused):
        await kill_again_and_again(url, Point.AFTER_COMMIT, 1, strict)
