"""The first start: of several processes at once, and of one that is killed on the way."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Final

import apsw
import msgspec

from tests.commands import NOWHERE
from tests.processes import first_start
from tests.processes.first_start import Start
from tests.processes.servers import connections, register, serving_at_once, sign_in
from tests.processes.team import ROOT
from tests.server.processes import run_keyturn

NEVER: Final = 0
SECRET: Final = "correct-horse-battery-staple-0123456789"


async def test_servers_that_start_at_once_make_one_of_everything(tmp_path: Path) -> None:
    """One secret, one key, one schema; and a session of one is a session of all."""
    async with serving_at_once(tmp_path) as servers, connections(servers) as clients:
        keys = [(await client.get("/.well-known/jwks.json")).document["keys"] for client in clients]
        await register(clients[0])
        pair = await sign_in(clients[0])
        others = [await client.get("/me", pair.access_token) for client in clients]

    assert len(keys[0]) == 1
    assert all(each == keys[0] for each in keys)
    assert [reply.status for reply in others] == [200] * len(clients)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["keyturn.db", "secret"]


async def test_inits_that_run_at_once_make_one_key(url: str, tmp_path: Path) -> None:
    """With a secret of the operator's, nothing but the database itself keeps them apart."""
    settings = {"KEYTURN_DATABASE_URL": url, "KEYTURN_SECRET": SECRET}
    inits = [asyncio.to_thread(run_keyturn, tmp_path, "init", **settings) for _ in range(8)]
    codes = [init.returncode for init in await asyncio.gather(*inits)]
    keys = run_keyturn(tmp_path, "keys", "list", "--json", **settings)
    found = run_keyturn(tmp_path, "doctor", **settings, **NOWHERE)

    assert codes == [0] * 8
    assert len(json.loads(keys.stdout)) == 1
    assert "WRONG" not in found.stdout


class Starter:
    """Starts that may be killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def start(self, folder: Path, last: int) -> int:
        """The signal that the start was ended by, or 0."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(Start(str(folder), last)) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def starter() -> Iterator[Starter]:
    command = [sys.executable, "-m", first_start.__name__]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, cwd=ROOT) as process:
        yield Starter(process)


def test_a_first_start_that_is_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed before any of its steps, it leaves what the next start makes whole."""
    with starter() as starts:
        for step in itertools.count(1):
            folder = tmp_path / str(step)
            ended_by = starts.start(folder, step)
            assert starts.start(folder, NEVER) == 0, f"killed before step {step}"
            assert integrity_of(folder / "keyturn.db") == "ok"
            if ended_by != signal.SIGKILL:
                break

    print(f"killed before each of {step - 1} steps")
    assert ended_by == 0
    assert step > 20


def integrity_of(file: Path) -> str:
    connection = apsw.Connection(str(file))
    try:
        return str(connection.pragma("integrity_check"))
    finally:
        connection.close()
