"""A PgBouncer before a PostgreSQL of the tests' own, which lends a session of the server for one
transaction at a time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from tests.postgresql import Server, free_port, give_away, unprivileged, wait_for

PGBOUNCER: Final = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")


@contextmanager
def pgbouncer(server: Server, *settings: str) -> Iterator[str]:
    """One before the server; yields its address, as a part of a URL. It has two sessions for all,
    so that they do change hands.
    """
    port = free_port()
    folder = server.folder / f"pgbouncer-{port}"
    folder.mkdir()
    lines = [
        "[databases]",
        f"* = host={server.folder} port={server.port} user=keyturn",
        "[pgbouncer]",
        "pool_mode = transaction",
        "default_pool_size = 2",
        "server_idle_timeout = 1",  # seconds; else it keeps two for every database there was
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        *settings,
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines))
    give_away(folder)
    process = subprocess.Popen(
        [*unprivileged(), str(PGBOUNCER), "--quiet", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield f"keyturn@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def through(pooler: str, database: str) -> str:
    """The same database, by way of the pooler."""
    return f"postgresql://{pooler}{urlsplit(database).path}"
