"""A PostgreSQL of the tests' own: from Debian's binaries, on a socket and a port of its own."""

from __future__ import annotations

import asyncio
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg

DEBIAN: Final = Path("/usr/lib/postgresql")

_SETTINGS: Final = ("fsync=on", "recovery_init_sync_method=syncfs")
_PATIENCE: Final = 20
"""Seconds after which a server is not slow, but stuck."""


def binaries() -> Path:
    """The folder of the newest installed release.

    Raises:
        FileNotFoundError: none is installed.
    """
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name))
    if not folders:
        raise FileNotFoundError("PostgreSQL is needed: sudo apt-get install -y postgresql")
    return folders[-1]


def free_port() -> int:
    """One that is free still when a server is started there again: no client is given it for its
    own end of a connection.
    """
    given_to_clients = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    while True:
        port = random.randrange(10_000, int(given_to_clients.split()[0]))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(port: int) -> None:
    """Until somebody answers there."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "nobody answers"
            time.sleep(0.01)
        else:
            return


def unprivileged() -> list[str]:
    """What precedes a command that refuses to be run by root."""
    if os.geteuid() != 0:
        return []
    return ["runuser", "-u", "postgres", "--"]


def give_away(folder: Path) -> None:
    """To whomever ``unprivileged`` makes of us."""
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)


class Server:
    """A cluster in ``folder``, with fsync on, whose superuser ``keyturn`` needs no password.

    The folder must be one that anybody may reach, with a short path: its socket is in there.

    Args:
        folder: empty, and nobody else's.
        settings: of the cluster, as ``name=value``.
        follows: a running server that this one is made a standby of. What is committed there
            arrives here later.
    """

    def __init__(self, folder: Path, *settings: str, follows: Server | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"
        self._settings = settings
        self._serial = count(1)
        give_away(folder)
        if follows is None:
            self._run(
                "initdb", "--pgdata", self._data, "--username=keyturn", "--auth=trust",
                "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync",
            )  # fmt: skip
        else:
            follows.back_up(self._data, "--write-recovery-conf")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1"
        options += "".join(f" -c {setting}" for setting in (*_SETTINGS, *self._settings))
        self._ctl("start", "--log", self.folder / "log", "--options", options)

    def stop(self, mode: str = "fast") -> None:
        self._ctl("stop", "--mode", mode)

    async def crash(self) -> None:
        """Kill one of the processes that serve connections, for which all others are ended; and
        wait until it has recovered by itself.
        """
        pid = "SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        os.kill(await self.fetch(f"{pid} AND pid <> pg_backend_pid()"), signal.SIGKILL)
        async with asyncio.timeout(_PATIENCE):
            while not await self._answers():
                pass

    async def _answers(self) -> bool:
        try:
            await self.fetch("SELECT 1")
        except (asyncpg.PostgresError, OSError):
            return False
        return True

    @property
    def pid(self) -> int:
        """Of the process whose children are all the others."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def stay_on(self, cores: str) -> None:
        """Serve connections that are opened from now on, on these alone; as taskset(1) has it."""
        command = ["taskset", "--cpu-list", "--pid", cores, str(self.pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def has_ended(self) -> bool:
        """Whether it does not run any more, for whatever reason."""
        return not (self._data / "postmaster.pid").exists()

    def remove(self) -> None:
        self.end()
        shutil.rmtree(self.folder)

    def end(self) -> None:
        """At once, if it runs still."""
        if not self.has_ended():
            self.stop("immediate")

    async def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"test_{next(self._serial)}"
        await self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str = "postgres", user: str = "keyturn") -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder))}&port={self.port}"

    async def execute(self, *statements: str) -> None:
        """Run each by itself, as the superuser."""
        connection = await asyncpg.connect(self.url())
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def until(self, query: str) -> None:
        """Ask again and again until the answer is true."""
        async with asyncio.timeout(_PATIENCE):
            while not await self.fetch(query):
                pass

    async def fetch(self, query: str) -> Any:
        """The one value that is asked for, by the superuser."""
        connection = await asyncpg.connect(self.url())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    # ── copies ──────────────────────────────────────────────────────────────────────────────────

    def back_up(self, folder: Path, *options: str) -> None:
        """Copy the running cluster, whole and consistent, into a new ``folder``."""
        self._run(
            "pg_basebackup", "--pgdata", folder, "--host", self.folder, "--port", str(self.port),
            "--username=keyturn", "--checkpoint=fast", "--no-sync", *options,
        )  # fmt: skip

    def restore(self, backup: Path) -> None:
        """Put the backup in the place of all that the stopped cluster holds."""
        shutil.rmtree(self._data)
        subprocess.run(["cp", "--archive", backup, self._data], check=True)

    async def catch_up_and_stop_following(self, primary: Server) -> None:
        """Have all that was committed on the primary until now, and nothing of what comes later."""
        committed = await primary.fetch("SELECT pg_current_wal_lsn()::text")
        await self.until(f"SELECT pg_last_wal_replay_lsn() >= '{committed}'")
        await self.execute("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        await self.until("SELECT count(*) = 0 FROM pg_stat_wal_receiver")

    def promote(self) -> None:
        """Make the standby a primary."""
        self._ctl("promote")

    def _ctl(self, action: str, *options: str | Path) -> None:
        self._run("pg_ctl", action, "--pgdata", self._data, "--wait", *options)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*unprivileged(), str(binaries() / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def running(*settings: str, follows: Server | None = None) -> Iterator[Server]:
    """A server in a new folder, with these settings; removed at last."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-test-"))
    folder.chmod(0o755)
    server = Server(folder, *settings, follows=follows)
    server.start()
    try:
        yield server
    finally:
        server.end()
        _remove_in_background(folder)


def _remove_in_background(folder: Path) -> None:
    """Nobody waits until all files are gone: with many databases they are tens of thousands."""
    command = 'rm -rf "$0" </dev/null >/dev/null 2>&1 &'
    subprocess.run(["sh", "-c", command, folder], check=True)
