"""The comparison as tables of Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from . import correctness
from .comparison import Compared, Row, Spread, compared, spread_of, total_us, unfit
from .correctness import AT_ONCE, LATE, RACES, SOON, Logout, Race, Theft
from .report import Machine, table

__all__ = ["behaviour", "costs", "given_up", "number", "ran_on", "where", "with_spread"]

_TITLES: Final = {
    "exchange": "An exchange",
    "check": "An authenticated request",
    "login": "A login without its hashing",
}
_NONE: Final = "-"
_NOT_OFFERED: Final = "not offered"


def ran_on(machine: Machine, rows: Sequence[Row]) -> str:
    """In a sentence, and the versions of everything."""
    packages = [
        f"- `{program}`: {', '.join(f'{name} {version}' for name, version in versions.items())}"
        for program, versions in machine.packages.items()
    ]
    versions = ["<details><summary>Versions</summary>", "", *packages, "", "</details>"]
    told = where(machine, [row.calibration_us for row in rows], _rounds(rows))
    return "\n".join([told, "", *versions])


def where(machine: Machine, loops: Sequence[float] = (), rounds: str = "") -> str:
    """In a sentence, and what of Keyturn was measured: runs are compared where these are alike.

    Args:
        machine: it.
        loops: microseconds of the calibration loop while it ran, if more than once.
        rounds: how many, if that is to be said.
    """
    run = "; ".join(filter(None, [f"commit {machine.commit}", rounds]))
    calibration = spread_of(loops or [machine.calibration_us])
    took = with_spread(calibration, 1) if loops else number(calibration.median, 1)
    return (
        f"{machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, PostgreSQL "
        f"{machine.postgresql}, Python {machine.python}, Node.js {machine.node}, wrk "
        f"{machine.wrk}; {run}. The calibration loop took {took} µs."
    )


def _rounds(rows: Sequence[Row]) -> str:
    count = len({row.round for row in rows})
    return "1 round" if count == 1 else f"{count} rounds"


def costs(rows: Sequence[Row]) -> str:
    """A long table for each thing that is asked for, and short ones for other loads."""
    sections = [_long(rows, asked) for asked in _TITLES]
    sections += [
        _short(rows, asked, connections, workers)
        for asked in _TITLES
        for connections, workers in ((1, 1), (256, 1), (32, 2))
    ]
    return "\n\n".join([*filter(None, sections), *_not_quoted(rows)])


# ── costs ───────────────────────────────────────────────────────────────────────────────────────


def _long(rows: Sequence[Row], asked: str) -> str:
    lines = [_long_line(each) for each in compared(rows, asked)]
    return _section(f"{_TITLES[asked]}, 32 connections", _LONG, lines)


_LONG: Final = (
    "", "CPU, Keyturn's = 1", "answers/s", "p50, ms", "p99, ms", "CPU, µs: server + database",
    "memory, MB", "statements", "log, B", "CPU of the load, share",
)  # fmt: skip


def _long_line(each: Compared) -> list[str]:
    server = with_spread(each.spread(lambda row: row.cost.server_us))
    database = number(each.median(lambda row: row.cost.database_us))
    in_postgres = each.statements is not None
    return [
        each.contender,
        _ratio(each.ratio),
        with_spread(each.spread(lambda row: row.cost.load.a_second)),
        number(each.median(lambda row: row.cost.load.p50_ms), 2),
        _late(each),
        f"{server} + {database}" if in_postgres else server,
        number(each.median(lambda row: row.cost.memory_mb)),
        _NONE if each.statements is None else number(each.statements, 1),
        number(each.median(lambda row: row.cost.wal_bytes)) if in_postgres else _NONE,
        f"{100 * each.median(_share_of_load):.0f} %",
    ]


def _late(each: Compared) -> str:
    return _NONE if each.p99_ms is None else number(each.p99_ms, 2)


def _share_of_load(row: Row) -> float:
    """Of all the CPU that was used."""
    load = row.cost.load.client_cpu_us
    return load / (load + total_us(row))


def _short(rows: Sequence[Row], asked: str, connections: int, workers: int) -> str:
    lines = [
        [
            each.contender,
            _ratio(each.ratio),
            with_spread(each.spread(lambda row: row.cost.load.a_second)),
            number(each.median(lambda row: row.cost.load.p50_ms), 2),
            _late(each),
            number(each.median(total_us)),
        ]
        for each in compared(rows, asked, connections=connections, workers=workers)
    ]
    load = "1 connection" if connections == 1 else f"{connections} connections"
    many = "" if workers == 1 else f", {workers} workers"
    return _section(f"{_TITLES[asked]}, {load}{many}", _SHORT, lines)


_SHORT: Final = ("", "CPU, Keyturn's = 1", "answers/s", "p50, ms", "p99, ms", "CPU, µs")


def _section(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return f"### {title}\n\n{table(heads, lines)}" if lines else ""


def _not_quoted(rows: Sequence[Row]) -> Iterator[str]:
    """What the tables leave out, and why."""
    left_out = [
        f"{row.contender}, {row.asked}, {row.connections} connections, workers: {row.workers}, "
        f"round {row.round} ({load.answers} answers, {load.refused} refused, {load.lost} lost)"
        for row in unfit(rows)
        for load in [row.cost.load]
    ]
    if left_out:
        yield "Not quoted, as not every answer was a good one:"
        yield "\n".join(f"- {each}" for each in left_out)


def given_up(contenders: Iterable[str], rows: Sequence[Row]) -> str:
    """Who was not asked in every round for all that they were asked for in any, or for nothing."""
    missing = [
        f"- {contender}, round {number}"
        for contender in contenders
        for number in sorted({row.round for row in rows})
        if not _was_asked_all(number, [row for row in rows if row.contender == contender])
    ]
    return "\n".join(["Given up before the end:", "", *missing]) if missing else ""


def _was_asked_all(number: int, rows: Sequence[Row]) -> bool:
    loads = [(row.round, (row.asked, row.connections, row.workers)) for row in rows]
    then = {load for when, load in loads if when == number}
    return bool(rows) and then == {load for _, load in loads}


# ── behaviour ───────────────────────────────────────────────────────────────────────────────────


def behaviour(rows: Sequence[correctness.Row]) -> str:
    """What becomes of honest users and of thieves."""
    return table(_BEHAVIOUR, [_behaviour_of(row) for row in rows])


_BEHAVIOUR: Final = (
    "", f"{AT_ONCE} at once: new tokens", "of which are good", "requests refused",
    f"false logouts, of {RACES}", f"answer lost, {SOON} s", f"answer lost, {LATE} s",
    "copied, thief first", "copied, victim first", "access token after a logout",
)  # fmt: skip


def _behaviour_of(row: correctness.Row) -> list[str]:
    return [
        row.contender,
        _range(row.races, lambda race: race.successors),
        _range(row.races, lambda race: race.lines),
        _range(row.races, lambda race: race.refused),
        _NOT_OFFERED if row.races is None else str(sum(race.lines == 0 for race in row.races)),
        _signed_in(row.goes_on_soon),
        _signed_in(row.goes_on_late),
        _ended(row.thief_first),
        _ended(row.victim_first),
        _access(row.logout),
    ]


def _range(races: Sequence[Race] | None, figure: Callable[[Race], int]) -> str:
    if races is None:
        return _NOT_OFFERED
    figures = [figure(race) for race in races]
    least, most = min(figures), max(figures)
    return str(most) if least == most else f"{least} to {most}"


def _signed_in(goes_on: bool | None) -> str:  # noqa: FBT001
    if goes_on is None:
        return _NOT_OFFERED
    return "stays signed in" if goes_on else "logged out"


def _ended(theft: Theft | None) -> str:
    if theft is None:
        return _NOT_OFFERED
    if theft.refused is None:
        return f"both go on, {theft.after} s"
    if not theft.other_goes_on:
        return f"session ends, {theft.after} s"
    other = "victim" if theft.refused == "thief" else "thief"
    return f"{theft.refused} refused, {theft.after} s; {other} goes on"


def _access(logout: Logout | None) -> str:
    if logout is None:
        return _NOT_OFFERED
    if logout.refused_after_ms is None:
        return "lives on until it expires"
    if logout.refused_after_ms < 1:
        return "refused at once"
    return f"refused after {logout.refused_after_ms:.0f} ms"


# ── figures ─────────────────────────────────────────────────────────────────────────────────────


def number(figure: float, digits: int = 0) -> str:
    return f"{figure:,.{digits}f}".replace(",", "\N{NO-BREAK SPACE}")


def with_spread(spread: Spread, digits: int = 0) -> str:
    """The median, and the least and the largest behind it."""
    return f"{number(spread.median, digits)} ({_ends(spread, digits)})"


def _ends(spread: Spread, digits: int) -> str:
    return f"{number(spread.least, digits)} to {number(spread.largest, digits)}"


def _ratio(ratio: Spread | None) -> str:
    return _NONE if ratio is None else f"**{ratio.median:.2f}** ({_ends(ratio, 2)})"
