"""Clocks that are wrong: what the processes of a test take for the time (libfaketime)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from keyturn.core import base64url

__all__ = ["Clock", "ahead_by"]

_LIBRARIES: Final = Path("/usr/lib")


class Clock:
    """The clock of processes that are started with its ``environment``, and of no others. Seconds
    that pass are told by another clock, which is right.

    Not for processes with several threads at work: when a thread of Python waits for another, it
    counts seconds in a way that libfaketime gets wrong, and waits in a busy loop.

    Args:
        file: to be made, where the clock is set.

    Raises:
        FileNotFoundError: libfaketime is not installed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(ahead=0)
        self.environment = {
            "LD_PRELOAD": str(_libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, *, ahead: int) -> None:
        """From now on show the right time and so many seconds."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead:+d}")
        new.rename(self._file)


def _libfaketime() -> Path:
    for library in _LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"):
        return library
    raise FileNotFoundError("libfaketime is needed: sudo apt-get install -y faketime")


def ahead_by(access_token: str) -> int:
    """By how many seconds the clock was ahead of ours that stamped a token just now."""
    claims = msgspec.json.decode(base64url.decode(access_token.split(".")[1]))
    return int(claims["iat"]) - int(time.time())
