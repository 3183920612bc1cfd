"""The store in PostgreSQL keeps the laws."""

from __future__ import annotations

from keyturn.stores.conformance import StoreConformance


class TestPostgresStore(StoreConformance):
    """On the fixture ``store``."""
