"""Connections to PostgreSQL: on settings of ours, whatever the role or the database defaults to."""

from __future__ import annotations

from typing import Final, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

__all__ = ["COMMAND_SECONDS", "Connection", "Connector"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

COMMAND_SECONDS: Final = 4.0
"""For one statement and its answer, however slow the way is: the server gives up before."""
_CONNECT_SECONDS: Final = 3.0

_SETTINGS: Final = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "lock_timeout": "200",  # milliseconds; on a good day others commit within a few
    "statement_timeout": "3000",
    "idle_in_transaction_session_timeout": "5000",  # else a process that stands still keeps locks
    "enable_seqscan": "off",  # a plan made while a table was small would read all of the large one
    "jit": "off",  # which the price put on such reads would call for
    "plan_cache_mode": "force_generic_plan",  # else a list of keys is planned for again each time
}
_PLANNED_FOR_SHARDS: Final = {
    "plan_cache_mode": "auto",  # Citus refuses to make a generic plan for more than one shard
}
_SHARDED: Final = _PLANNED_FOR_SHARDS | {
    "citus.max_adaptive_executor_pool_size": "1",  # else up to 16 to a node for each one to us
}
_PATIENT_LOCK_TIMEOUT: Final = "2000"
_POOLER_REFUSED_THEM: Final = "unsupported startup parameter"


class Connector:
    """Makes connections to the server that ``url`` names; of several, to the one that can be
    written.

    ``direct`` ones belong to one session of the server: they hold settings and prepared statements,
    and hear notifications. Behind a pooler that changes sessions between transactions (PgBouncer)
    they cannot.

    Whoever learns that the tables are ``sharded`` says so: later connections have settings for it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.direct = True
        self.sharded = False

    async def find_out(self) -> Connection:
        """Connect for the first time, and learn whether that is direct. Its statements may take
        their time.

        Raises:
            ValueError: the URL cannot be read.
            asyncpg.PostgresError: the server refused, or failed.
            OSError: it does not answer.
        """
        try:
            connection = await self._connect(cache=0, settings=_SETTINGS | _PLANNED_FOR_SHARDS)
        except asyncpg.ProtocolViolationError as error:
            if _POOLER_REFUSED_THEM not in str(error):
                raise
            self.direct = False
            return await self._connect(cache=0, settings={})
        held = await connection.fetchval(
            "SELECT setting FROM pg_settings WHERE name = 'lock_timeout'"
        )
        self.direct = held == _SETTINGS["lock_timeout"]  # a pooler may take them for nothing
        return connection

    async def connect(self) -> Connection:
        """Raises as ``find_out``."""
        if self.direct:
            return await self._connect(
                cache=100, settings=self._settings(), seconds=COMMAND_SECONDS
            )
        return await self._connect(cache=0, settings={}, seconds=COMMAND_SECONDS)

    def begin(self, *, patient: bool) -> str:
        """What begins a transaction on our settings, which it brings along where a session cannot
        hold them. A patient one waits longer for locks.
        """
        local = {} if self.direct else self._local_settings()
        if patient:
            local["lock_timeout"] = _PATIENT_LOCK_TIMEOUT
        sets = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in local.items())
        return "BEGIN ISOLATION LEVEL READ COMMITTED" + sets

    def _local_settings(self) -> dict[str, str]:
        return {name: value for name, value in self._settings().items() if "default" not in name}

    def _settings(self) -> dict[str, str]:
        return _SETTINGS | _SHARDED if self.sharded else _SETTINGS

    async def _connect(
        self, *, cache: int, settings: dict[str, str], seconds: float | None = None
    ) -> Connection:
        return await asyncpg.connect(
            self._url,
            timeout=_CONNECT_SECONDS,
            command_timeout=seconds,
            statement_cache_size=cache,
            max_cached_statement_lifetime=0,  # to close one, asyncpg waits for the server for ever
            server_settings=settings,
            target_session_attrs=SessionAttribute.read_write,
        )
