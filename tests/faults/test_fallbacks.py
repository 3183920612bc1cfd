"""The store falls back to an earlier state of its history while servers run and clients ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import apsw
import pytest

from tests.faults.clients import Crowd, crowd
from tests.faults.proxy import Proxy, proxied
from tests.faults.stage import RunningStage, on_stage
from tests.postgresql import Server, running

CLIENTS = 100
PER_SECOND = 40
SOME = 30


class Fallback(Protocol):
    """A way to lose what was committed since a moment."""

    primary: Server

    async def mark(self) -> None:
        """Be at that moment now."""
        ...

    async def fall_back(self, proxy: Proxy, them: Crowd) -> Server:
        """Returns the server that is there from now on, behind the proxy."""
        ...


class ToStandby:
    """The primary is killed. The standby that takes its place is asynchronous and lags behind."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self._standby = standby

    async def mark(self) -> None:
        await self._standby.catch_up_and_stop_following(self.primary)

    async def fall_back(self, proxy: Proxy, them: Crowd) -> Server:
        proxy.target = self._standby.port
        await asyncio.to_thread(self.primary.stop, "immediate")
        await them.meets(SOME, "503")  # as it cannot be written yet
        await asyncio.to_thread(self._standby.promote)
        return self._standby


class ToBackup:
    """The server is stopped, a base backup restored, and the server started again."""

    def __init__(self, primary: Server) -> None:
        self.primary = primary
        self._backup = primary.folder / "backup"

    async def mark(self) -> None:
        await asyncio.to_thread(self.primary.back_up, self._backup)

    async def fall_back(self, proxy: Proxy, them: Crowd) -> Server:
        await asyncio.to_thread(self.primary.stop)
        await them.meets(SOME, "503")
        await asyncio.to_thread(self.primary.restore, self._backup)
        await asyncio.to_thread(self.primary.start)
        return self.primary


@pytest.fixture(params=["standby", "backup"])
def fallback(request: pytest.FixtureRequest) -> Iterator[Fallback]:
    with running() as primary:
        if request.param == "backup":
            yield ToBackup(primary)
            return
        with running(follows=primary) as standby:
            yield ToStandby(primary, standby)


async def test_turns_and_ends_that_are_lost(fallback: Fallback, tmp_path: Path) -> None:
    """SPEC 4, 4.3, 5.2: sessions that had turned go on from the token that their client holds;
    logouts are done again, as servers that run know of them; what was begun since is over.
    """
    database = await fallback.primary.new_database()
    async with (
        proxied(fallback.primary.port) as proxy,
        on_stage(tmp_path, database, through=proxy.url(database)) as stage,
    ):
        clients, later = await stage.clients(CLIENTS), await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.turns_more(SOME)
            await fallback.mark()
            async with crowd(later, per_second=PER_SECOND) as others:
                await others.turns_more(SOME)
                await others.log_out(later[:5])
                await stage.learns_of(later[:5])
                begun_since = await stage.clients(5)
                server = await fallback.fall_back(proxy, them)
                await others.recovers()
            await them.recovers()
        stage.store = server.url(urlsplit(database).path[1:])
        found = await stage.examine(clients + later + begun_since, fell_back=True)

    print(f"{them}; {others}; {dict(found)}")
    assert found["resumed"] >= SOME - 5
    assert found == {
        "resumed": found["resumed"],
        "living": 2 * CLIENTS - 5 - found["resumed"],
        "logged out anew": 5,
        "unknown": 5,
    }


async def test_a_switchover_that_cuts_no_connection(tmp_path: Path) -> None:
    """Those to the older primary, which is read only by then, are let go of: nothing more is read
    there, and turns are written on the newer one.
    """
    with running() as primary, running(follows=primary) as standby:
        database = await primary.new_database()
        async with (
            proxied(primary.port) as proxy,
            on_stage(tmp_path, database, through=proxy.url(database)) as stage,
        ):
            clients = await stage.clients(CLIENTS)
            async with crowd(clients, per_second=PER_SECOND) as them:
                await them.turns_more(SOME)
                await primary.execute(
                    "ALTER SYSTEM SET default_transaction_read_only = on",
                    "SELECT pg_reload_conf()",
                )
                await them.meets(1, "503")
                await standby.catch_up_and_stop_following(primary)
                await asyncio.to_thread(standby.promote)
                proxy.target = standby.port
                await them.recovers()
            stage.store = standby.url(urlsplit(database).path[1:])
            found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert found == {"living": CLIENTS}


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────


def back_up(file: Path, backup: Path) -> None:
    """As SQLite's own tool does it, beside those who use the file."""
    with closing(apsw.Connection(str(file))) as source:
        source.execute("VACUUM INTO ?", (str(backup),))


def put_in_place(backup: Path, file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    backup.rename(file)


async def test_a_file_that_is_replaced(stage_on_file: RunningStage, tmp_path: Path) -> None:
    """README, "Honest limits": servers that run answer 503 until they are restarted. Sessions that
    had turned go on then; of logouts since the backup nobody knows any more.
    """
    stage, file, backup = stage_on_file, tmp_path / "keyturn.db", tmp_path / "backup"
    clients, later = await stage.clients(CLIENTS), await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        await asyncio.to_thread(back_up, file, backup)
        async with crowd(later, per_second=PER_SECOND) as others:
            await others.turns_more(SOME)
            await others.log_out(later[:5])
            begun_since = await stage.clients(5)
            await asyncio.to_thread(put_in_place, backup, file)
            await others.meets(SOME, "503")
            await asyncio.gather(*(stage.restart(number) for number in range(2)))
            await others.recovers()
        await them.recovers()
    found = await stage.examine(clients + later + begun_since, fell_back=True, forgotten=True)

    print(f"{them}; {others}; {dict(found)}")
    assert found["resumed"] >= SOME - 5
    assert found == {
        "resumed": found["resumed"],
        "living": 2 * CLIENTS - found["resumed"],
        "unknown": 5,
    }
