"""What the tests of the SQLite store share."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


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
