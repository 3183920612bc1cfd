"""Figures as a run could have brought them."""

from __future__ import annotations

from benchmarks.comparison import MEASURE, Row
from benchmarks.load import Load
from benchmarks.trial import Cost

__all__ = ["MEASURE", "row"]


def row(
    contender: str = MEASURE,
    *,
    round: int = 1,  # noqa: A002
    asked: str = "exchange",
    connections: int = 32,
    workers: int = 1,
    server_us: float = 200,
    database_us: float = 50,
    refused: int = 0,
    lost: int = 0,
    statements: float | None = 3.0,
) -> Row:
    """One load, of which every answer was good unless something else is said."""
    load = Load(
        answers=12_000, seconds=3, refused=refused, lost=lost, p50_ms=7.5, p99_ms=20,
        client_cpu_us=250,
    )  # fmt: skip
    cost = Cost(load, server_us=server_us, database_us=database_us, memory_mb=60, wal_bytes=169)
    return Row(
        round=round,
        contender=contender,
        workers=workers,
        asked=asked,
        connections=connections,
        cost=cost,
        calibration_us=10,
        statements=statements,
    )
