"""A server that loads the application once and then forks its workers, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults import preloaded
from tests.faults.clients import crowd
from tests.faults.stage import Stage, engine_on
from tests.faults.test_killed_processes import kill_one
from tests.postgresql import free_port, wait_for
from tests.processes.team import PATIENCE, ROOT
from tests.server.processes import Server, until

WORKERS = 3
KILLS = 4
CLIENTS = 150
PER_SECOND = 40
SOME = 30


@contextmanager
def gunicorn(folder: Path, database: str) -> Iterator[Server]:
    """With the application loaded before it forks; killed at last, workers and all."""
    errors, port = folder / "stderr", free_port()
    command = [
        sys.executable, "-m", "gunicorn", "--preload", f"--workers={WORKERS}",
        f"--bind=127.0.0.1:{port}", "--worker-class=uvicorn_worker.UvicornWorker",
        f"{preloaded.__name__}:app",
    ]  # fmt: skip
    environment = os.environ | {"DATABASE_URL": database}
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command, stderr=stderr, text=True, cwd=ROOT, env=environment, start_new_session=True
        )
    try:
        wait_for(port)
        yield Server(process, f"http://127.0.0.1:{port}", errors)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


async def test_workers_that_are_forked_after_the_application_was_loaded(
    tmp_path: Path, database: str
) -> None:
    """They exchange, tell each other who logs out, and new ones take the places of the killed."""
    async with engine_on(database):
        pass  # now there are tables and a key
    with gunicorn(tmp_path, database) as server:
        stage = Stage(database, [server.port] * WORKERS)
        await stage.gets_ready()
        clients, killed = await stage.clients(CLIENTS), set[int]()
        async with crowd(clients, per_second=PER_SECOND) as them:
            for _ in range(KILLS):
                await them.meets(SOME, "200")
                killed.add(await asyncio.to_thread(kill_one, server, killed))
            await them.log_out(clients[:10])
            await them.recovers()
        await asyncio.to_thread(until, lambda: len(server.workers() - killed) == WORKERS)
        found = await stage.examine(clients)
        code = server.stop()
        log = server.errors.read_text()

    print(f"{len(killed)} workers killed; {them}; {dict(found)}")
    assert code == 0
    assert "Traceback" not in log
    assert found["living"] + found["logged out"] == CLIENTS
