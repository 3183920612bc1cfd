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
from pathlib import Path
from subprocess import PIPE
from typing import Final

import apsw
import msgspec
import pytest

from keyturn.core.errors import RefreshTokenReused
from keyturn.core.model import Policy, Tokens
from keyturn.stores.sqlite import SQLiteStore
from keyturn.wire.settings import REFRESH_PATH
from tests.processes import doomed
from tests.processes.doomed import Doom, Point
from tests.processes.http_client import connected
from tests.processes.servers import listening
from tests.processes.team import PATIENCE, ROOT
from tests.support import Clock, loaded

KILLS: Final = 50
CLIENTS: Final = 3
HOUR: Final = 3600
WAYS: Final = tuple(itertools.product((True, False), (0, HOUR)))
"""Whether another process has the file open when one is killed, and how long its clients wait."""


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
async def doomed_servers(file: Path) -> AsyncIterator[Doomed]:
    with listening() as listener:
        command = [sys.executable, "-m", doomed.__name__, str(file), str(listener.fileno())]
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


async def kill_again_and_again(folder: Path, point: Point, policy: Policy) -> Counter[int]:
    """How many turns a session made between two answers that its client got."""
    file, clock = folder / "keyturn.db", Clock()
    async with loaded(await SQLiteStore.open(str(file), create=True), clock) as sessions:
        pairs = [await sessions.create(f"user-{number}") for number in range(CLIENTS)]
    turns: Counter[int] = Counter()
    async with doomed_servers(file) as servers:
        for beside, patience in itertools.islice(itertools.cycle(WAYS), KILLS):
            clock.sleep(HOUR)
            tokens = [pair.refresh_token for pair in pairs]
            killed = servers.exchange(tokens, Doom(point, int(clock.now)))
            if not beside:
                await killed
            async with loaded(await SQLiteStore.open(str(file)), clock, policy=policy) as sessions:
                if beside:
                    await killed
                clock.sleep(patience)
                renewed = [await sessions.refresh(token) for token in tokens]
                named = [sessions.verify(pair.access_token).sid for pair in renewed]
            assert named == [pair.session.sid for pair in pairs]
            assert integrity_of(file) == "ok"
            turns.update(map(turns_between, pairs, renewed))
            pairs = renewed
    return turns


def turns_between(older: Tokens, newer: Tokens) -> int:
    return newer.session.generation - older.session.generation


def integrity_of(file: Path) -> str:
    connection = apsw.Connection(str(file))
    try:
        return str(connection.pragma("integrity_check"))
    finally:
        connection.close()


@pytest.mark.parametrize("point", Point)
async def test_a_killed_server_logs_nobody_out(tmp_path: Path, point: Point) -> None:
    """C4, C9: the token that a client holds is good, in the window and later, and nothing forks:
    a turn that was committed unseen is followed by at most one more, and only after the window.
    """
    turns = await kill_again_and_again(tmp_path, point, Policy())

    print(f"{KILLS} kills {point}, turns of {CLIENTS} sessions: {dict(turns)}")
    assert turns.total() == KILLS * CLIENTS
    assert set(turns) <= {1, 2}
    committed = point in {Point.AFTER_COMMIT, Point.BEFORE_ANSWER}
    assert turns[2] >= KILLS // 2 if committed else turns[2] == 0


async def test_where_answers_must_not_be_lost_the_kills_log_people_out(tmp_path: Path) -> None:
    """The proof that the kills come where they should: strict single use does not survive them."""
    strict = Policy(retry_window=0, recover=False)

    with pytest.raises(RefreshTokenReused):
        await kill_again_and_again(tmp_path, Point.AFTER_COMMIT, strict)
