"""Keyturn beside what people use today, over HTTP: what an exchange costs, an authenticated
request, a login without its hashing.

In each round every contender is started anew on a database of its own, warmed up, and asked. All
share one PostgreSQL. With two cores, one worker has one of them for itself; database and load share
the other.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace
from tests.postgresql import Server, running

from . import correctness, pictures, tables
from .comparison import MEASURE, Row, compared
from .contenders import AS_THEY_COME, CONTENDERS
from .contenders.model import Contender
from .environments import Environment, installed
from .measure import calibration_us
from .report import PICTURES, fill, save, this_machine
from .trial import COUNT_NOTHING, SETTINGS, Trial, on_trial

__all__ = ["BETWEEN_MEASURES", "ROUNDS", "in_turn", "measure", "run"]

ROUNDS: Final = 3
SECONDS_TO_WARM: Final = 5
SESSIONS: Final = 4000
BETWEEN_MEASURES: Final = 5
"""So many contenders are measured before the one comes again that they are measured by."""
SECONDS: Final = {32: 3, 1: 2, 256: 2}
"""For which so many connections ask."""
ASKED: Final = ("check", "exchange", "login")  # an exchange may end the access token before it


def run(rounds: int = ROUNDS, only: Sequence[str] = ()) -> None:
    """Measure and try the contenders, and write what came of it into ``docs`` and ``results``. Of
    some alone it is shown instead.

    Args:
        rounds: in each of which all of them are asked.
        only: what is in the names of those that are meant; everybody is, where it is empty.

    Raises:
        SystemExit: none has such a name.
    """
    measured, tried = (
        [each for each in those if not only or any(part in each.name for part in only)]
        for those in (CONTENDERS, AS_THEY_COME)
    )
    if not (measured or tried):
        sys.exit(f"No contender has {' or '.join(only)} in its name")
    packages = {each.application: each.packages for each in (*measured, *tried)}
    environments = {name: installed(those, name) for name, those in packages.items()}
    machine = this_machine({name: each.versions for name, each in environments.items()})
    rows = measure(measured, environments, rounds)
    if not only:
        save("http", machine, rows)  # before anything else can fail
    behaviour = correctness.measure(tried, environments)
    costs = (
        tables.ran_on(machine, rows),
        tables.costs(rows),
        tables.given_up([each.name for each in measured], rows),
    )
    texts = {
        "http": "\n\n".join(filter(None, costs)),
        "correctness": tables.behaviour(behaviour),
    }
    if only:
        print("\n\n".join(texts.values()))
    else:
        save("correctness", machine, behaviour)
        _publish(texts, rows)


def _publish(texts: Mapping[str, str], rows: Sequence[Row]) -> None:
    for name, text in texts.items():
        fill(name, text)
    exchanges, checks = compared(rows, "exchange"), compared(rows, "check")
    PICTURES.mkdir(exist_ok=True)
    for name, picture in {
        "exchange": pictures.cpu("an exchange", exchanges),
        "latency": pictures.latency("an exchange", exchanges),
        "check": pictures.cpu("an authenticated request", checks),
    }.items():
        (PICTURES / f"{name}.svg").write_text(picture)


def measure(
    contenders: Sequence[Contender], environments: Mapping[str, Environment], rounds: int = ROUNDS
) -> list[Row]:
    """Ask all of them in every round. ``environments`` is by application."""
    rows = []
    with running(*SETTINGS) as postgres:
        extensions = ("pg_walinspect", "pg_stat_statements")
        creating = [f"CREATE EXTENSION {name}" for name in extensions]
        asyncio.run(postgres.execute(*creating, *COUNT_NOTHING))
        for number in range(1, rounds + 1):
            for contender in in_turn(contenders, number):
                environment = environments[contender.application]
                try:
                    for row in _rows_of(number, contender, environment, postgres):
                        rows.append(row)
                        _tell(row)
                except RuntimeError as error:  # the others are not to be measured anew for it
                    print(f"{contender.name} was given up: {error}", file=sys.stderr)
    return rows


def in_turn(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    """From one end to the other, and in the next round back. Now and then the one comes again that
    they are measured by, if it is among them: the machine is not as fast at the end of a round as
    at its beginning.
    """
    measure = [replace(each, workers=(1,)) for each in contenders if each.name == MEASURE]
    order = contenders if number % 2 else contenders[::-1]
    for position, contender in enumerate(order, start=1):
        yield contender
        if position % BETWEEN_MEASURES == 0 and contender.name != MEASURE:
            yield from measure


def _rows_of(
    number: int, contender: Contender, environment: Environment, postgres: Server
) -> Iterator[Row]:
    for workers in contender.workers:
        many, asked = (contender.connections, ASKED) if workers == 1 else ([32], ASKED[:2])
        loads = {connections: SECONDS[connections] for connections in many}
        sessions = contender.sessions or SESSIONS
        with on_trial(
            contender, environment, postgres, workers=workers, sessions=sessions
        ) as trial:
            for what in asked:
                if what in contender.asks:
                    yield from _costs(number, trial, workers, what, loads)


def _costs(
    number: int, trial: Trial, workers: int, what: str, loads: Mapping[int, int]
) -> Iterator[Row]:
    trial.ask(what, seconds=SECONDS_TO_WARM, connections=32)
    for connections, seconds in loads.items():
        cost = trial.cost(what, seconds=seconds, connections=connections)
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
