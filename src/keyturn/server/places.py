"""A few names for whatever strangers ask for, so that they cannot make up what is counted."""

from __future__ import annotations

from typing import Final

from keyturn.wire.routes import ROUTES, SESSION_PATH

__all__ = ["METHODS", "place_of"]

METHODS: Final = frozenset({"GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"})

_PATHS: Final = {route.path for route in ROUTES}
_SESSION_PREFIX: Final = SESSION_PATH.partition("{")[0]


def place_of(path: str) -> str:
    """``path`` as the table of endpoints has it; empty if it does not."""
    if path in _PATHS:
        return path
    return SESSION_PATH if path.startswith(_SESSION_PREFIX) else ""
