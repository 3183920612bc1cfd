"""Keyturn beside what people use today, over HTTP: what an exchange costs, an authenticated
request, a login without its hashing.

In each round every contender is started anew on a database of its own, warmed up, and asked. All
share one PostgreSQL. With two cores, one worker has one of them for itself; database and load share
the other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from tests.postgresql import Server, running

from .contenders import CONTENDERS
from .contenders.model import Contender
from .environments import Environment, installed
from .measure import calibration_us
from .trial import COUNT_NOTHING, SETTINGS, Cost, Trial, on_trial

__all__ = ["Row", "measure", "run"]

ROUNDS: Final = 3
SECONDS: Final = 3
SECONDS_TO_WARM: Final = 5
SESSIONS: Final = 4000
CONNECTIONS: Final = (32, 1, 256)
ASKED: Final = ("check", "exchange", "login")  # an exchange may end the access token before it


class Row(msgspec.Struct, frozen=True):
    """One load on one contender."""

    round: int
    contender: str
    workers: int
    asked: str
    connections: int
    cost: Cost
    calibration_us: float
    statements: float | None = None
    """Of PostgreSQL, an answer, where they were counted."""


def measure(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[Row]:
    """Ask all of them in every round."""
    environments = {each.name: installed(each.packages, each.application) for each in contenders}
    rows = []
    with running(*SETTINGS) as postgres:
        extensions = ("pg_walinspect", "pg_stat_statements")
        creating = [f"CREATE EXTENSION {name}" for name in extensions]
        asyncio.run(postgres.execute(*creating, *COUNT_NOTHING))
        for number in range(1, rounds + 1):
            for contender in contenders:
                for row in _rows_of(number, contender, environments[contender.name], postgres):
                    rows.append(row)
                    _tell(row)
    return rows


def _rows_of(
    number: int, contender: Contender, environment: Environment, postgres: Server
) -> Iterator[Row]:
    for workers in contender.workers:
        with on_trial(
            contender, environment, postgres, workers=workers, sessions=SESSIONS
        ) as trial:
            for what in ASKED:
                if what in contender.asks:
                    yield from _costs(number, trial, workers, what)


def _costs(number: int, trial: Trial, workers: int, what: str) -> Iterator[Row]:
    trial.ask(what, seconds=SECONDS_TO_WARM, connections=32)
    for connections in CONNECTIONS:
        cost = trial.cost(what, seconds=SECONDS, connections=connections)
        counted = connections == 32 and trial.contender.database == "postgresql"
        yield Row(
            round=number,
            contender=trial.contender.name,
            workers=workers,
            asked=what,
            connections=connections,
            cost=cost,
            calibration_us=calibration_us(),
            statements=trial.statements(what) if counted else None,
        )


def _tell(row: Row) -> None:
    cost, load = row.cost, row.cost.load
    print(
        f"{row.round} {row.contender:44} x{row.workers} {row.asked:8} {row.connections:3}"
        f" {load.a_second:9,.0f}/s {load.p50_ms:8.2f} {load.p99_ms:8.2f} ms"
        f" {cost.server_us:7.0f} + {cost.database_us:4.0f} us, load {load.client_cpu_us:3.0f},"
        f" {cost.memory_mb:4.0f} MB, {cost.wal_bytes:5.0f} B, {row.statements or 0:4.1f} st."
        f" refused {load.refused} lost {load.lost}",
        file=sys.stderr,
    )


def run() -> None:
    measure(CONTENDERS)
