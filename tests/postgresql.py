"""A PostgreSQL of the tests' own: from Debian's binaries, on a socket and a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

DEBIAN: Final = Path("/usr/lib/postgresql")


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody answers there."""
    until = time.monotonic() + 10
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
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"
        self._serial = count(1)
        give_away(folder)
        self._run(
            "initdb", "--pgdata", self._data, "--username=keyturn", "--auth=trust",
            "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
        )  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c fsync=on"
        self._ctl("start", "--log", self.folder / "log", "--options", options)

    def stop(self, mode: str = "fast") -> None:
        self._ctl("stop", "--mode", mode)

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)

    async def new_database(self) -> str:
        """The URL of an empty one."""
        name = f"test_{next(self._serial)}"
        connection = await asyncpg.connect(self.url())
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    def url(self, database: str = "postgres", user: str = "keyturn") -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder))}&port={self.port}"

    def _ctl(self, action: str, *options: str | Path) -> None:
        self._run("pg_ctl", action, "--pgdata", self._data, "--wait", *options)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*unprivileged(), str(binaries() / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
