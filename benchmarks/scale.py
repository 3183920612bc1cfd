"""Whether it costs more where there are more sessions: an exchange, a list of one user's, the
revocation of one, a page of a sweep. And the memory that revocations take.

The databases of all sizes are measured in the same rounds, one right after the other. No checkpoint
comes in between: the images of pages that follow one have to do with time, not with size.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from tests.postgresql import Server, running

from keyturn import Sessions, open_store
from keyturn.core.model import ALL_VERSIONS

from .filling import Place, PostgresPlace, Row, SQLitePlace, token_of
from .measure import heading, median_of
from .plans import WHOLE, postgres_plans, sqlite_plans
from .processes import cpu_seconds, largest_mb
from .report import fill, save, table, this_machine
from .tables import number, where
from .turning import ROUNDS, Callers, Clocks, a_round, sessions_on

SIZES = (10_000, 100_000, 1_000_000)
SIZES_OF_FILES = SIZES[:2]
CALLERS = 256
SAMPLE = 10_000
"""Sessions that are exchanged: by chance, so they are all over the table."""
ASKED = 100
PAGE = 500
CUTOFFS = 100_000
SETTINGS = ("checkpoint_timeout=1h", "max_wal_size=16GB")

_Figures = dict[str, list[float]]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one database, in all rounds."""

    where: str
    sessions: int
    what: str
    figures: Sequence[float]


def run() -> None:
    machine = this_machine()
    with (
        running(*SETTINGS) as server,
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = [
            *runner.run(_on_postgres(server)),
            *runner.run(_on_sqlite(Path(folder))),
        ]
        memory = runner.run(_show_memory(server))
    save("scale", machine, [*figures, *memory])
    fill("scale", f"{where(machine)}\n\n{_table_of(figures)}\n\n{_told_of(memory)}")


def _table_of(figures: Sequence[Figure]) -> str:
    """Medians, of each size in a column."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for each in figures:
        found.setdefault((each.where, each.what), {})[each.sessions] = median_of(each.figures)
    sizes = [f"{number(size)} sessions" for size in SIZES]
    lines = [[f"{where}: {what}", *_cells(medians)] for (where, what), medians in found.items()]
    return table(("medians", *sizes, "largest / least"), lines)


def _cells(medians: Mapping[int, float]) -> list[str]:
    by_size = [_cell(medians[size]) if size in medians else "-" for size in SIZES]
    return [*by_size, number(max(medians.values()) / min(medians.values()), 2)]


def _cell(figure: float) -> str:
    return number(figure, 0 if figure >= 100 else 2)


def _told_of(memory: Sequence[Figure]) -> str:
    before, after = (median_of(each.figures) for each in memory)
    each = (after - before) * 2**20 / CUTOFFS
    return (
        f"A process that knows {number(CUTOFFS)} revocations takes {number(after, 1)} MB, and "
        f"{number(before, 1)} MB without any: {number(each)} bytes for each."
    )


# ── one size ────────────────────────────────────────────────────────────────────────────────────


class Site:
    """So many sessions, and callers who exchange some of them."""

    def __init__(
        self, sessions: Sessions, place: Place, callers: Callers, held: AbstractSet[str]
    ) -> None:
        self.sessions = sessions
        self.callers = callers
        self._place = place
        self._held = held
        self._bounds = sessions._sweep_bounds()  # noqa: SLF001

    @classmethod
    async def made(cls, sessions: Sessions, place: Place, size: int) -> Site:
        """One where each of those sessions was turned before."""
        await sessions.create("user-0")
        await place.fill(size - 1)
        rows = await place.sample(min(SAMPLE, size // 2))
        callers = Callers(sessions, [token_of(sessions, row) for row in rows], CALLERS)
        await callers.exchange_all()
        return cls(sessions, place, callers, {row.sid for row in rows})

    async def measure(self, clocks: Clocks) -> dict[str, float]:
        turns = await a_round(self.sessions, self.callers, clocks)
        used = {f"a turn: CPU µs, {whose}": cost for whose, cost in turns.cpu_us.items()}
        asked = {f"{what}: ms": await self._p50_ms(ask) for what, ask in self.asked.items()}
        return {"turns a second": turns.a_second, **used, **asked}

    @property
    def asked(self) -> Mapping[str, Callable[[Row], Awaitable[object]]]:
        """Of one session each."""
        return {
            "a list": lambda row: self.sessions.list(row.user_id),
            "a revocation": lambda row: self.sessions.revoke(row.sid),
            "a page of a sweep": lambda row: self.sessions.store.sweep(
                self._bounds, after=row.sid, limit=PAGE
            ),
        }

    async def others(self, count: int) -> list[Row]:
        """Sessions that no caller holds."""
        rows = await self._place.sample(4 * count)
        return [row for row in rows if row.sid not in self._held][:count]

    async def _p50_ms(self, ask: Callable[[Row], Awaitable[object]]) -> float:
        times = []
        for row in await self.others(ASKED):
            began = time.perf_counter()
            await ask(row)
            times.append((time.perf_counter() - began) * 1000)
        return median_of(times)


# ── the sizes beside each other ─────────────────────────────────────────────────────────────────


async def _on_postgres(server: Server) -> list[Figure]:
    heading(f"PostgreSQL with {', '.join(map(_shown_size, SIZES))} sessions, {CALLERS} callers")
    clocks = {"Python": time.process_time, "PostgreSQL": lambda: cpu_seconds(server.pid)}
    async with AsyncExitStack() as stack:
        sites = {}
        for size in SIZES:
            url = await server.new_database()
            store = await open_store(url, create=True)
            sessions = await stack.enter_async_context(sessions_on(store))
            place = await PostgresPlace.at(url)
            stack.push_async_callback(place.connection.close)
            sites[size] = await Site.made(sessions, place, size)
        measured = await _show_costs(sites, clocks)
        for size, site in sites.items():
            _show_plans(size, await postgres_plans(site.sessions.store))
    return _figures("PostgreSQL", measured)


async def _on_sqlite(folder: Path) -> list[Figure]:
    sizes = ", ".join(map(_shown_size, SIZES_OF_FILES))
    heading(f"SQLite with {sizes} sessions, {CALLERS} callers")
    async with AsyncExitStack() as stack:
        sites = {}
        for size in SIZES_OF_FILES:
            store = await open_store(f"sqlite:///{folder / str(size)}.db", create=True)
            sessions = await stack.enter_async_context(sessions_on(store))
            sites[size] = await Site.made(sessions, SQLitePlace(store), size)
        measured = await _show_costs(sites, {"Python": time.process_time})
        for size, site in sites.items():
            _show_plans(size, await _sqlite_plans(site))
    return _figures("SQLite", measured)


def _figures(where: str, measured: Mapping[int, _Figures]) -> list[Figure]:
    return [
        Figure(where=where, sessions=size, what=what, figures=figures)
        for size, by_what in measured.items()
        for what, figures in by_what.items()
    ]


async def _sqlite_plans(site: Site) -> dict[str, set[str]]:
    row = (await site.others(10))[0]
    asked = {what: partial(ask, row) for what, ask in site.asked.items()}
    exchange = {"an exchange": partial(site.callers.exchange, 0)}
    return await sqlite_plans(site.sessions.store, {**exchange, **asked})


async def _show_costs(sites: Mapping[int, Site], clocks: Clocks) -> dict[int, _Figures]:
    measured: dict[int, _Figures] = {size: {} for size in sites}
    for _ in range(ROUNDS):
        for size, site in random.sample(list(sites.items()), len(sites)):
            for what, figure in (await site.measure(clocks)).items():
                measured[size].setdefault(what, []).append(figure)
    columns = "".join(_shown_size(size).rjust(12) for size in sites)
    print(f"{'medians, sessions:'.ljust(30)}{columns}   largest / least")
    for what in measured[min(sites)]:
        medians = [median_of(figures[what]) for figures in measured.values()]
        print(
            what.ljust(30) + "".join(f"{figure:12,.2f}" for figure in medians),
            f"  {max(medians) / min(medians):.2f}",
        )
    return measured


def _show_plans(size: int, plans: Mapping[str, set[str]]) -> None:
    print(f"with {_shown_size(size)} sessions, what is looked up by which index:")
    for what, ways in plans.items():
        whole = [way for way in ways if way.startswith(WHOLE)]
        print(f"  {what.ljust(28)}", ", ".join(sorted(ways)), "  ← NOT BOUNDED" if whole else "")


def _shown_size(size: int) -> str:
    return f"{size:,}"


# ── the memory of revocations ───────────────────────────────────────────────────────────────────


async def _show_memory(server: Server) -> list[Figure]:
    heading(f"Memory of a process that knows {CUTOFFS:,} revocations, on PostgreSQL")
    url = await server.new_database()
    secret = os.urandom(32)
    async with sessions_on(await open_store(url, create=True), secret):
        pass  # its keys are made
    before = _memory_once_loaded(url, secret)
    connection = await asyncpg.connect(url)
    await connection.execute(_REVOKED, CUTOFFS, ALL_VERSIONS, int(time.time()) + 3600)
    await connection.close()
    after = _memory_once_loaded(url, secret)
    learnt = median_of(after) - median_of(before)
    print(f"without any: MB                   {median_of(before):.1f}")
    print(f"with all of them: MB              {median_of(after):.1f}")
    print(f"bytes each                        {learnt * 2**20 / CUTOFFS:.0f}")
    what = "memory of a process that knows so many revocations: MB"
    return [
        Figure(where=f"{count:,} revocations", sessions=0, what=what, figures=figures)
        for count, figures in ((0, before), (CUTOFFS, after))
    ]


_REVOKED = """
    INSERT INTO keyturn.cutoff (sid, version, expires_at, reason)
    SELECT substr(md5(number::text), 1, 21) || 'A', $2, $3, 'logged_out'
    FROM generate_series(1, $1::bigint) AS number"""


def _memory_once_loaded(url: str, secret: bytes) -> list[float]:
    """Megabytes, of a few processes."""
    figures = []
    for _ in range(ROUNDS):
        with ProcessPoolExecutor(1, get_context("spawn")) as child:
            figures.append(child.submit(_load, url, secret).result())
    return figures


def _load(url: str, secret: bytes) -> float:
    return asyncio.run(_loaded(url, secret))


async def _loaded(url: str, secret: bytes) -> float:
    async with sessions_on(await open_store(url), secret) as sessions:
        memory = largest_mb(os.getpid())
        assert sessions.known_cutoffs in {0, CUTOFFS}
        return memory
