"""The security log: a line for whatever concerns who is signed in. Never a token or a password."""

from __future__ import annotations

import logging

__all__ = ["in_detail", "one_word", "record"]

_log = logging.getLogger("keyturn.security")


def record(event: str, *, level: int = logging.INFO, **details: str | None) -> None:
    """Log ``event`` and what is known of it, as ``name=value``."""
    known = [f"{name}={one_word(value)}" for name, value in details.items() if value]
    _log.log(level, "%s", " ".join([event, *known]))


def in_detail() -> bool:
    """Whether what happens thousands of times a second is wanted too."""
    return _log.isEnabledFor(logging.DEBUG)


def one_word(text: str) -> str:
    """``text`` with control characters, spaces and all that is not ASCII escaped."""
    return text.encode("unicode_escape").decode().replace(" ", "\\x20")
