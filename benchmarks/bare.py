"""The plain way of an exchange in a database: find one row by its key, compare what is held, write
what is held from now on, and have it on the disk, each by itself. It knows no rules and answers
nobody.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.postgresql import Server, binaries

from keyturn.stores.sqlite import engine, opening

__all__ = ["Pgbench", "SQLiteRow"]


class Pgbench:
    """So many clients of ``pgbench`` on prepared statements, through the socket that Keyturn is
    given too. Each has a row of its own, which is one of a session with its hash, and no two are on
    one page.
    """

    def __init__(self, server: Server, url: str, folder: Path, clients: int) -> None:
        self._server = server
        self._database = re.findall(r"/(\w+)\?", url)[0]
        self._script = folder / "swap.pgbench"
        self._script.write_text(_SCRIPT)
        self._clients = clients

    async def make_table(self, connection: Any) -> None:
        """Of copies of one session that is there."""
        await connection.execute(_TABLE)
        await connection.execute(_ROWS, self._clients * _APART)
        await connection.execute("VACUUM ANALYZE bare")

    async def run(self, connection: Any, *limit: str) -> tuple[int, float]:
        """How many transactions it made, each of which compared and swapped; and how many a second,
        once it was connected.
        """
        await connection.execute("UPDATE bare SET hash = '0' WHERE hash <> '0'")
        where = ["--host", self._server.folder, "--port", str(self._server.port)]
        done = await asyncio.to_thread(
            subprocess.run,
            [
                binaries() / "pgbench", "--username=keyturn", "--no-vacuum", "--protocol=prepared",
                f"--client={self._clients}", "--jobs=1", "--define=old=0", f"--file={self._script}",
                *limit, *where, self._database,
            ],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        await self._server.until(_ALL_GONE)
        assert "number of failed transactions: 0 " in done.stdout, done.stdout
        made = re.findall(r"actually processed: (\d+)", done.stdout)[0]
        return int(made), float(re.findall(r"tps = ([\d.]+)", done.stdout)[0])


_APART = 50
"""Rows from one client's to the next one's: more than a page holds."""

_TABLE = """
    CREATE TABLE bare (id bigint PRIMARY KEY, hash bytea NOT NULL, LIKE keyturn.session)
    WITH (fillfactor = 80)"""

_ROWS = """
    INSERT INTO bare
    SELECT id, '0', one.* FROM generate_series(0, $1::bigint) AS id,
        (SELECT * FROM keyturn.session LIMIT 1) AS one
    ORDER BY id"""

_SCRIPT = f"""\\set id :client_id * {_APART}
\\set new random(1, 9223372036854775806)
UPDATE bare SET hash = :new, turned_at = 1700000000 WHERE id = :id AND hash = :old \
RETURNING user_id \\gset
\\set old :new
"""

_ALL_GONE = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'"


class SQLiteRow:
    """A row of a session in a file of Keyturn's with the settings that its store has, updated by
    APSW alone.
    """

    def __init__(self, file: Path) -> None:
        self._connection = opening.connect(file)
        self._connection.pragma("synchronous", "FULL")
        self._connection.wal_autocheckpoint(engine._CHECKPOINT_PAGES)  # noqa: SLF001
        self._generation = 0
        self._grow_log()

    def _grow_log(self) -> None:
        """Once, as it does in the first minute of each file: until then each commit is slower."""
        pages = engine._CHECKPOINT_PAGES + 100  # noqa: SLF001
        size = pages * self._connection.pragma("page_size")
        self._connection.execute("CREATE TABLE filler (bytes BLOB)")
        self._connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (size,))
        self._connection.execute("DROP TABLE filler")

    def commits_a_second(self, seconds: float) -> float:
        """Each a transaction, and on the disk before the next one."""
        began = time.perf_counter()
        commits = 0
        while time.perf_counter() < began + seconds:
            held, self._generation = self._generation, self._generation + 1
            swapped = self._connection.execute(_SWAP, (self._generation, held)).get
            assert swapped is not None
            commits += 1
        return commits / (time.perf_counter() - began)

    def close(self) -> None:
        self._connection.close()


_SWAP = "UPDATE session SET generation = ? WHERE id = 1 AND generation = ? RETURNING sid"
