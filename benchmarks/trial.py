"""One contender, seeded and serving: what it costs to ask it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from tests.postgresql import Server, free_port

from .contenders.model import Ask, Contender
from .environments import Environment
from .load import Load, ask_for
from .processes import cpu_seconds, largest_mb, run, serving, until_still

__all__ = [
    "APART",
    "COUNT_NOTHING",
    "SETTINGS",
    "Cost",
    "Held",
    "Trial",
    "new_database",
    "on_trial",
]

SETTINGS: Final = (
    "shared_preload_libraries=pg_stat_statements", "shared_buffers=512MB", "max_wal_size=4GB",
    "max_connections=300",
)  # fmt: skip
"""Of the PostgreSQL that serves all contenders."""

COUNT_NOTHING: Final = (
    "ALTER SYSTEM SET pg_stat_statements.track = 'none'", "SELECT pg_reload_conf()",
)  # fmt: skip
"""Statements for its superuser: what is counted is counted apart, as that costs something too."""

APART: Final = os.cpu_count() == 2
"""Whether one worker has a core to itself, and database and load have the other."""

_APPLICATIONS: Final = Path(__file__).with_name("contenders") / "applications"
_SECONDS_COUNTED: Final = 1


class Cost(msgspec.Struct, frozen=True):
    """What a load cost. All that was asked shares it, whether it was answered before the load ended
    or not: what the server then does for the rest is counted, too.
    """

    load: Load
    server_us: float
    """CPU of all the server's processes, a request."""
    database_us: float
    """CPU of all the database's processes, a request; 0 where it is in the server."""
    memory_mb: float
    """Of the largest process of the server, after the load."""
    wal_bytes: float
    """Of PostgreSQL's log, a request, without the images of whole pages after a checkpoint."""


class Held(msgspec.Struct, frozen=True):
    """What the holder of one session has."""

    refresh: str
    access: str


class Trial:
    """A contender at work."""

    def __init__(
        self, contender: Contender, workers: int, *, pid: int, port: int, folder: Path,
        postgres: Server, database: str,
    ) -> None:  # fmt: skip
        self.contender = contender
        self.port = port
        self._workers = workers
        self._pid = pid
        self._folder = folder
        self._postgres = postgres
        self._database = database

    @property
    def _load_core(self) -> int | None:
        return 1 if APART and self._workers == 1 else None

    def held(self) -> list[Held]:
        """What was seeded."""
        refresh, access = (
            (self._folder / name).read_text().splitlines() for name in ("refresh", "access")
        )
        return list(map(Held, refresh, access))

    def ask(self, what: str, *, seconds: float, connections: int) -> Load:
        """Ask for one thing for a while, and wait until the server has done with it."""
        ask = self.contender.asks[what]
        load = ask_for(
            seconds, ask, self.port, self._tokens(ask), connections=connections,
            core=self._load_core,
        )  # fmt: skip
        until_still(lambda: cpu_seconds(self._pid) + cpu_seconds(self._postgres.pid))
        return load

    def _tokens(self, ask: Ask) -> Path:
        """An access token is presented many times while it lives, so those of some users are, again
        and again; a refresh token once.
        """
        file, count = self._folder / ask.presents, self.contender.access_tokens
        if ask.presents != "access":
            return file
        some = self._folder / "some-access"
        if not some.exists():
            lines = file.read_text().splitlines(keepends=True)
            some.write_text("".join(lines[:count]))
        return some

    def cost(self, what: str, *, seconds: float, connections: int) -> Cost:
        """What it costs to ask for one thing for a while."""
        log = self._log_position()
        server, database = cpu_seconds(self._pid), cpu_seconds(self._postgres.pid)
        load = self.ask(what, seconds=seconds, connections=connections)
        server, database = (
            cpu_seconds(self._pid) - server,
            cpu_seconds(self._postgres.pid) - database,
        )
        in_server = self.contender.database == "sqlite"
        asked = max(load.asked, 1)
        return Cost(
            load,
            server_us=server / asked * 1e6,
            database_us=0 if in_server else database / asked * 1e6,
            memory_mb=largest_mb(self._pid),
            wal_bytes=0 if in_server else self._log_since(log) / asked,
        )

    def statements(self, what: str) -> float:
        """How many statements of PostgreSQL a request takes, BEGIN and COMMIT among them."""
        self._run("ALTER SYSTEM RESET pg_stat_statements.track", "SELECT pg_reload_conf()")
        self._run("SELECT pg_sleep(0.2)", "SELECT pg_stat_statements_reset()")
        load = self.ask(what, seconds=_SECONDS_COUNTED, connections=32)
        counted = asyncio.run(self._postgres.fetch(_STATEMENTS.format(self._database)))
        self._run(*COUNT_NOTHING)
        return int(counted) / max(load.asked, 1)

    def _run(self, *statements: str) -> None:
        asyncio.run(self._postgres.execute(*statements))

    def _log_position(self) -> str:
        return str(asyncio.run(self._postgres.fetch("SELECT pg_current_wal_flush_lsn()::text")))

    def _log_since(self, begin: str) -> int:
        end = self._log_position()
        if end == begin:
            return 0
        return int(asyncio.run(self._postgres.fetch(_WRITTEN.format(begin, end))))


_STATEMENTS: Final = """
    SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
    JOIN pg_database ON pg_database.oid = dbid WHERE datname = '{}'"""
_WRITTEN: Final = """
    SELECT (pg_wal_lsn_diff('{1}', '{0}') - sum(fpi_size))::bigint
    FROM pg_get_wal_stats('{0}', '{1}')"""


@contextmanager
def on_trial(
    contender: Contender, environment: Environment, postgres: Server, *, workers: int, sessions: int
) -> Iterator[Trial]:
    """Within, the contender serves so many sessions on a database of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        url = new_database(contender, postgres, folder)
        variables = {
            "DATABASE_URL": url, "KEYTURN_DATABASE_URL": url, "KEYTURN_DATA_DIR": name,
            **contender.environment,
        }  # fmt: skip
        application = environment.place(_APPLICATIONS / contender.application)
        places = {
            "bin": environment.bin, "app": application, "programs": application.parent,
            "folder": folder, "port": port, "workers": workers, "count": sessions,
        }  # fmt: skip
        seed, serve = (
            [part.format_map(places) for part in command]
            for command in (contender.seed, contender.serve)
        )
        run(seed, variables)
        alone = APART and workers == 1
        if APART:
            postgres.stay_on("1" if alone else "0-1")
        with serving(serve, port, variables, log=folder / "log", core=0 if alone else None) as pid:
            yield Trial(
                contender, workers, pid=pid, port=port, folder=folder, postgres=postgres,
                database=url.rpartition("/")[2],
            )  # fmt: skip
        if contender.database == "postgresql":
            asyncio.run(postgres.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)"))


def new_database(contender: Contender, postgres: Server, folder: Path) -> str:
    """The URL of an empty one."""
    if contender.database == "sqlite":
        return f"sqlite:///{folder}/keyturn.db"
    name = asyncio.run(postgres.new_database()).rpartition("?")[0].rpartition("/")[2]
    return f"postgresql://keyturn@127.0.0.1:{postgres.port}/{name}"
