"""Sessions in one SQLite file, which several processes of one machine may share."""

from __future__ import annotations

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
