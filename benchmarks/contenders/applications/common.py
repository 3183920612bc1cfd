"""What the programs in Python share: the command line, and the files of a seed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["ACCESS_LIFETIME", "REFRESH_LIFETIME", "SECRET", "Session", "main"]

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


def main(seed: Callable[[Sequence[str], str], Iterable[Session]]) -> None:
    """``COUNT FOLDER PASSWORD``.

    Args:
        seed: makes the tables, and a user with the password and a session for each of the names.
    """
    count, folder, password = sys.argv[1:]
    names = [f"user{number}@example.com" for number in range(int(count))]
    _write(Path(folder), list(seed(names, password)))


def _write(folder: Path, sessions: Sequence[Session]) -> None:
    for field in Session._fields:
        lines = [f"{getattr(session, field)}\n" for session in sessions]
        (folder / field).write_text("".join(lines))
