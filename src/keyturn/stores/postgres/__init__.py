"""Sessions in PostgreSQL, which any number of processes and machines may share."""

from __future__ import annotations

from .store import PostgresStore

__all__ = ["PostgresStore"]
