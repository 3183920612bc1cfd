"""What the tests of stores share."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from keyturn.coalesce import Coalescer
from keyturn.core.model import Session
from keyturn.stores.base import Store

NOBODY = 65534


async def read_together(store: Store, *sessions: Session) -> list[object]:
    """Their rows, gathered as ``Sessions`` gathers them, or why one was not read."""

    async def get_all(sids: Sequence[str]) -> Sequence[Session | None]:
        rows = await store.get(sids)
        return [rows.get(sid) for sid in sids]

    gets = Coalescer(get_all, key=lambda sid: sid, at_most=store.batch, lanes=store.lanes)
    asked = [gets.submit(session.sid) for session in sessions]
    return list(await asyncio.gather(*asked, return_exceptions=True))


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file of the folder with its bytes: what must not change."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def damage(path: Path, start: int, end: int) -> None:
    """Overwrite these bytes."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xee" * (end - start))


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of every file of the folder."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def set_mode(path: Path, mode: int) -> None:
    """For whoever ``unprivileged`` makes of us."""
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def start_python(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Another process, with its standard output to be read."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def unprivileged() -> Iterator[None]:
    """Within, the modes of files hold for us, also where the tests are run by root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def disk_full_beyond(size: int) -> Iterator[None]:
    """Within, no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
