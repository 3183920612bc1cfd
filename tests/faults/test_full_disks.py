"""The disk of the database fills up while people exchange tokens, and somebody makes room."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx
import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.sessions import Sessions
from tests.faults.clients import crowd
from tests.faults.disks import Disk, small_disk
from tests.faults.stage import engine_on, on_stage
from tests.postgresql import Server
from tests.server.processes import KEYTURN, clean_environment, run_keyturn, serving, until

CLIENTS = 200
PER_SECOND = 40
SOME = 30
ROWS_OF_A_PAGE = 200  # and more
TOKEN = "correct-horse-battery-staple-0123456789"
GONE = (asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, OSError)
WRITE = "SELECT pg_logical_emit_message(true, 'test', '')"


async def test_a_full_disk_of_sqlite(tmp_path: Path) -> None:
    """C12: who only reads is answered; turns and logouts are refused, until there is room."""
    with small_disk(24, tmp_path / "disk") as disk:
        async with on_stage(tmp_path, f"sqlite:///{disk.folder / 'keyturn.db'}") as stage:
            clients = await stage.clients(CLIENTS)
            async with crowd(clients, per_second=PER_SECOND) as them:
                await them.turns_more(SOME)
                await asyncio.to_thread(disk.fill)
                readers = [client for client in them.begun if client.met["200"]]
                await them.meets(SOME, "503")
                met_by_readers = {what for client in readers for what in client.met}
                await them.log_out(clients[:3])
                await stage.expect_health(clients[-1])
                disk.free()
                await them.recovers()
                await them.log_out(clients[3:6])
            found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert met_by_readers == {"200"}
    assert [client.log_out_met for client in clients[:6]] == ["503"] * 3 + ["200"] * 3
    assert found == {"living": CLIENTS - 3, "logged out": 3}


def test_a_backup_that_finds_no_room_is_not_called_damaged(tmp_path: Path) -> None:
    """C12: whoever believed it would throw it away; and no half of a copy is left."""
    backup, data = tmp_path / "backup", tmp_path / "data"
    made = [run_keyturn(tmp_path, *command) for command in (["init"], ["backup", str(backup)])]
    with small_disk(1, tmp_path / "disk") as disk:
        elsewhere = {"KEYTURN_DATA_DIR": str(disk.folder / "data")}
        (disk.folder / "data").mkdir()
        shutil.copy(data / "secret", disk.folder / "data")
        disk.fill()
        left = {*disk.folder.rglob("*")}
        backed_up = run_keyturn(tmp_path, "backup", str(disk.folder / "backup"))
        restored = run_keyturn(tmp_path, "restore", str(backup), **elsewhere)
        left_then = {*disk.folder.rglob("*")}

    assert [command.returncode for command in made] == [0, 0]
    assert backed_up.stderr == f"Error: {disk.folder}: No space left on device\n"
    assert restored.stderr == f"Error: {disk.folder / 'data'}: No space left on device\n"
    assert left == left_then


def test_a_backup_for_which_a_file_may_not_be_large_enough_is_not_called_damaged(
    tmp_path: Path,
) -> None:
    """C12: a quota is no full disk to SQLite."""
    backup = tmp_path / "backup"
    made = [run_keyturn(tmp_path, *command) for command in (["init"], ["backup", str(backup)])]
    limited = subprocess.run(
        ["sh", "-c", 'ulimit -f 50; exec "$0" restore "$1"', *KEYTURN, backup],
        capture_output=True,
        check=False,
        text=True,
        env=clean_environment(tmp_path) | {"PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert [command.returncode for command in made] == [0, 0]
    assert "damaged" not in limited.stderr
    assert "No space left on device" in limited.stderr


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Below a path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="keyturn-test-") as folder:
        Path(folder).chmod(0o755)
        with small_disk(72, Path(folder) / "disk") as disk:
            yield disk


@pytest.fixture
def server(disk: Disk) -> Iterator[Server]:
    """All of a cluster on the small disk."""
    folder = disk.folder / "cluster"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.remove()


async def fill_a_page(sessions: Sessions) -> None:
    """With rows, of which the last ones do not fit in."""
    for number in range(ROWS_OF_A_PAGE):
        await sessions.create(f"newcomer-{number}")


async def use_up_the_log(server: Server) -> None:
    """Which has room for some megabytes always, until the server dies of it."""
    with suppress(*GONE):
        while True:
            await server.execute(WRITE, "SELECT pg_switch_wal()")


async def test_a_full_disk_of_postgresql(tmp_path: Path, disk: Disk, server: Server) -> None:
    """C12: first there is no room for new rows; then none for the log that is written ahead, of
    which PostgreSQL dies.
    """
    database = await server.new_database()
    async with on_stage(tmp_path, database) as stage:
        clients = await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.turns_more(SOME)
            await asyncio.to_thread(disk.fill)
            async with engine_on(database) as sessions:
                with pytest.raises(StoreUnavailable, match="The disk of the database is full"):
                    await fill_a_page(sessions)
            await use_up_the_log(server)
            await them.meets(SOME, "503")
            await them.log_out(clients[:3])
            await stage.expect_health(clients[-1])
            await asyncio.to_thread(until, server.has_ended)
            disk.free()
            await asyncio.to_thread(server.start)
            await them.recovers()
            await them.log_out(clients[3:6])
        found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert [client.log_out_met for client in clients[:6]] == ["503"] * 3 + ["200"] * 3
    assert found == {"living": CLIENTS - 3, "logged out": 3}


def test_a_full_disk_of_temporary_files(tmp_path: Path) -> None:
    """C12: nobody notices, not even who reads the figures; and a worker that ends is replaced."""
    settings = {"KEYTURN_METRICS_TOKEN": TOKEN, "TMPDIR": str(tmp_path / "disk")}
    with (
        small_disk(1, tmp_path / "disk") as disk,
        serving(tmp_path, "--workers", "2", **settings) as server,
    ):
        until(lambda: len(server.workers()) == 2)
        disk.fill()
        killed = min(server.workers())
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(server.workers() - {killed}) == 2)
        healthy = [httpx.get(f"{server.url}/readyz", timeout=20) for _ in range(9)]
        bearer = {"authorization": f"Bearer {TOKEN}"}
        scraped = httpx.get(f"{server.url}/metrics", headers=bearer, timeout=20)

    assert {answer.status_code for answer in healthy} == {200}
    assert scraped.status_code == 200
    assert "ended with" not in server.errors.read_text().replace(f"{killed} ended with -9", "")
