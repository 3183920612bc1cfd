"""What the programs in Python share: the command line, the files of a seed, and gunicorn."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ACCESS_LIFETIME", "REFRESH_LIFETIME", "SECRET", "Session", "gunicorn", "main"]

SECRET: Final = "known to everybody, and long enough for every hash that a program signs with"
ACCESS_LIFETIME: Final = timedelta(days=1)
"""Longer than any measurement: what was seeded stays good."""
REFRESH_LIFETIME: Final = timedelta(days=30)


class Session(NamedTuple):
    """One that is seeded."""

    name: str
    access: str
    refresh: str = ""
    """Empty where the library has none."""


def main(
    seed: Callable[[Sequence[str], str], Iterable[Session]],
    server: Callable[[str, str], Sequence[str]],
) -> None:
    """``seed COUNT FOLDER PASSWORD`` or ``serve PORT WORKERS``.

    Args:
        seed: makes the tables, and a user with the password and a session for each of the names.
        server: the command that serves, given the port and the number of workers.
    """
    action, *arguments = sys.argv[1:]
    if action == "seed":
        count, folder, password = arguments
        names = [f"user{number}@example.com" for number in range(int(count))]
        _write(Path(folder), list(seed(names, password)))
    else:
        program, *options = server(*arguments)
        path = Path(sys.executable).with_name(program)
        os.execv(path, [program, *options])


def _write(folder: Path, sessions: Sequence[Session]) -> None:
    for field in Session._fields:
        lines = [f"{getattr(session, field)}\n" for session in sessions]
        (folder / field).write_text("".join(lines))


def gunicorn(port: str, workers: str) -> Sequence[str]:
    """The command that serves what the running program calls ``application``."""
    program = Path(sys.argv[0]).resolve()
    return [
        "gunicorn", "--chdir", str(program.parent), "--bind", f"127.0.0.1:{port}",
        "--workers", workers, "--worker-class", "gthread", "--threads", "4",
        "--log-level", "error", "--no-control-socket", f"{program.stem}:application",
    ]  # fmt: skip
