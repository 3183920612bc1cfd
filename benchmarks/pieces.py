"""Where the time of one exchange, and of one authenticated request, goes: CPU of ``keyturn serve``
on PostgreSQL with 32 connections, piece by piece.

In one process every layer is asked by itself, in rounds that take turns; what a layer takes is what
it takes with all below it, less all below it. The same requests are made of a live server in the
same rounds: what it takes beyond the layers are the kernel and the event loop's sockets.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec
from tests.postgresql import Server, running

from . import layers
from .contenders.keyturn import KEYTURN
from .environments import installed
from .layers import CALLERS, LEAVES, Round
from .measure import heading
from .report import fill, save, table, this_machine
from .tables import number, where
from .trial import APART, COUNT_NOTHING, SETTINGS, Trial, new_database, on_trial
from .turning import ROUNDS

__all__ = ["Piece", "run", "shown_pieces", "taken_apart"]

SESSIONS: Final = 2000
SECONDS_TO_WARM: Final = 2
SECONDS_LIVE: Final = 2

_CONTENDER: Final = KEYTURN[0]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What takes some of the time."""

    asked: str
    what: str
    cpu_us: Sequence[float]
    """Of one, in each of the rounds."""
    of: str = ""
    """The piece that this is a part of, or takes the place of; empty where it is one of those that
    make the whole.
    """


def run() -> None:
    heading(f"CPU of an exchange and of a check, piece by piece: {CALLERS} callers, µs")
    machine = this_machine()
    pieces = taken_apart(_measure())
    print(text := shown_pieces(pieces))
    save("micro", machine, pieces)
    fill("micro", f"{where(machine)}\n\n{text}")


def _measure() -> list[Round]:
    environment = installed(None, _CONTENDER.application)
    with running(*SETTINGS) as postgres:
        asyncio.run(postgres.execute("CREATE EXTENSION pg_walinspect", *COUNT_NOTHING))
        with (
            on_trial(_CONTENDER, environment, postgres, workers=1, sessions=SESSIONS) as live,
            _layers(postgres) as a_round,
        ):
            for what in ("check", "exchange"):
                live.ask(what, seconds=SECONDS_TO_WARM, connections=CALLERS)
            return [{**a_round(), **_live_round(live)} for _ in range(ROUNDS)]


def _live_round(live: Trial) -> Round:
    costs = {
        f"live {what}": live.cost(what, seconds=SECONDS_LIVE, connections=CALLERS)
        for what in ("check", "exchange")
    }
    for cost in costs.values():
        assert cost.load.answers, "nothing was answered"
        assert cost.load.refused == cost.load.lost == 0, "not every answer was a good one"
    return {what: cost.server_us for what, cost in costs.items()}


@contextmanager
def _layers(postgres: Server) -> Iterator[Callable[[], Round]]:
    """What measures a round of them, in a process that is warm."""
    with tempfile.TemporaryDirectory() as name:
        url = new_database(_CONTENDER, postgres, Path(name))
        pinned = ["taskset", "--cpu-list", "0"] if APART else []  # as the server is
        given = {"KEYTURN_DATABASE_URL": url, "KEYTURN_DATA_DIR": name}
        with subprocess.Popen(
            [*pinned, sys.executable, "-m", layers.__name__],
            env={**os.environ, **_CONTENDER.environment, **given},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin
            assert process.stdout
            asked, told = process.stdin, process.stdout

            def a_round() -> Round:
                asked.write(b"\n")
                asked.flush()
                return msgspec.json.decode(told.readline(), type=Round)

            a_round()
            yield a_round


# ── the pieces ──────────────────────────────────────────────────────────────────────────────────

_LIVE: Final = "kernel and sockets of the event loop"
_HTTP: Final = "HTTP: uvicorn's parser, ASGI, writing the answer"
_COUNTING: Final = "counting for metrics, pages' dispatch, request id"
_WIRE: Final = "endpoint: origin, cookies, JSON"
_SESSIONS: Final = "Sessions, on a store in memory"
_SEEN: Final = "Sessions.verify, token seen before"
_UNSEEN: Final = "or, where it was not"

_PIECES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "exchange": {
        _SESSIONS: ("turn in memory",),
        "asyncpg and the store of PostgreSQL": ("turn", "turn in memory"),
        _WIRE: ("turn at endpoints", "turn"),
        _COUNTING: ("turn at app", "turn at endpoints"),
        _HTTP: ("turn over HTTP", "turn at app"),
        _LIVE: ("live exchange", "turn over HTTP"),
    },
    "check": {
        _SEEN: ("seen",),
        _WIRE: ("check at endpoints", "seen"),
        _COUNTING: ("check at app", "check at endpoints"),
        _HTTP: ("check over HTTP", "check at app"),
        _LIVE: ("live check", "check over HTTP"),
    },
}
"""What was asked with the piece and all below it, and what was asked without it."""

_NAMES_OF_LEAVES: Final = (
    "ES256 signature",
    "four HMACs: tag and proof of the token, and of its successor",
    "base64url",
    "JSON of the payload",
    "decision: what the token means",
)
_REST: Final = "all else: event loop, gathering, objects, the store in memory"


def taken_apart(rounds: Sequence[Round]) -> list[Piece]:
    """The pieces of an exchange and of a check, each round by itself."""
    served = [_without_asking(each) for each in rounds]
    return [piece for asked in _PIECES for piece in _pieces_of(asked, served)]


def _without_asking(figures: Round) -> Round:
    """What is in the process of the layers over HTTP, and in no server."""
    over_http = ("turn over HTTP", "check over HTTP")
    return {**figures, **{what: figures[what] - figures["asking"] for what in over_http}}


def _pieces_of(asked: str, rounds: Sequence[Round]) -> Iterator[Piece]:
    for what, (whole, *below) in _PIECES[asked].items():
        figures = [each[whole] - sum(each[part] for part in below) for each in rounds]
        yield Piece(asked=asked, what=what, cpu_us=figures)
        if what == _SESSIONS:
            yield from _parts_of_sessions(rounds)
        if what == _SEEN:
            yield Piece(asked=asked, what=_UNSEEN, cpu_us=_of(rounds, "unseen"), of=what)


def _of(rounds: Sequence[Round], what: str) -> list[float]:
    return [each[what] for each in rounds]


def _parts_of_sessions(rounds: Sequence[Round]) -> Iterator[Piece]:
    for name, what in zip(LEAVES, _NAMES_OF_LEAVES, strict=True):
        yield Piece(asked="exchange", what=what, cpu_us=_of(rounds, name), of=_SESSIONS)
    rest = [each["turn in memory"] - sum(each[name] for name in LEAVES) for each in rounds]
    yield Piece(asked="exchange", what=_REST, cpu_us=rest, of=_SESSIONS)


def shown_pieces(pieces: Sequence[Piece]) -> str:
    """A table of the exchange, and one of the check."""
    return "\n\n".join(
        f"### {title}\n\n{_table_of([each for each in pieces if each.asked == asked])}"
        for asked, title in (
            ("exchange", "An exchange, piece by piece"),
            ("check", "An authenticated request, piece by piece"),
        )
    )


def _table_of(pieces: Sequence[Piece]) -> str:
    wholes = [each.cpu_us for each in pieces if not each.of]
    whole = [sum(figures) for figures in zip(*wholes, strict=True)]
    lines = [[_named(each), *_figures(each.cpu_us, whole)] for each in pieces]
    return table(("", "CPU, µs", "share"), [*lines, ["**all**", *_figures(whole, whole)]])


def _named(piece: Piece) -> str:
    return f"— {piece.what}" if piece.of else piece.what


def _figures(cpu_us: Sequence[float], whole: Sequence[float]) -> list[str]:
    """The mean, as only means of the pieces make that of the whole; and its share."""
    mean, share = fmean(cpu_us), fmean(cpu_us) / fmean(whole)
    ends = " to ".join(number(end(cpu_us), 1) for end in (min, max))
    return [f"{number(mean, 1)} ({ends})", "-" if share > 1 else f"{100 * share:.0f} %"]
