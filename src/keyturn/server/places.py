"""A few names for whatever strangers ask for, so that they cannot make up what is counted."""

from __future__ import annotations

from typing import Final

from keyturn.wire.routes import ROUTES, place_of

__all__ = ["METHODS", "counted_place"]

METHODS: Final = frozenset({"GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"})

_PATHS: Final = {route.path for route in ROUTES}


def counted_place(path: str) -> str:
    """``path`` as the table of endpoints has it; empty if it does not."""
    place = place_of(path)
    return place if place in _PATHS else ""
