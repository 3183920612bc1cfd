"""Keyturn beside the plain way on this machine: one thing at a time, and each written by itself.

Both are measured in the same rounds, one right after the other, and set in proportion round by
round: so a ratio is steady where a time is not.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from tests.postgresql import Server, running

from keyturn import Sessions, open_store
from keyturn.core.keyring import ALGORITHMS

from .bare import Pgbench, SQLiteRow
from .comparison import spread_of
from .measure import heading, in_turns_us, median_of, ratios, shown
from .postgres import log_position, show_alone, written_since
from .processes import cpu_seconds
from .report import fill, save, table, this_machine
from .tables import number, where, with_spread
from .turning import ROUNDS, SECONDS, Callers, Clocks, a_round, sessions_on

CLIENTS = 32
MANY = 256
CHECKS = 200


class Row(msgspec.Struct, frozen=True):
    """One figure of Keyturn, and that of the plain way in the same rounds."""

    what: str
    beside: str
    """What is the plain way; empty where there is none."""
    keyturn: Sequence[float]
    plain: Sequence[float] = ()
    digits: int = 0

    @property
    def ratios(self) -> Sequence[float]:
        return ratios(self.keyturn, self.plain) if self.plain else ()


def run() -> None:
    machine = this_machine()
    with (
        running() as server,
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        rows = [
            *runner.run(_beside_pgbench(server, Path(folder))),
            *runner.run(_beside_signatures()),
            *runner.run(_beside_sqlite(Path(folder))),
        ]
    save("limits", machine, rows)
    fill("limits", f"{where(machine)}\n\n{_table_of(rows)}")


def _table_of(rows: Sequence[Row]) -> str:
    return table(
        ("", "the plain way is", "Keyturn", "the plain way", "ratio"), [_line(row) for row in rows]
    )


def _line(row: Row) -> list[str]:
    figures = ((row.keyturn, row.digits), (row.plain, row.digits), (row.ratios, 2))
    return [row.what, row.beside or "-", *(_cell(each, digits) for each, digits in figures)]


def _cell(figures: Sequence[float], digits: int) -> str:
    if len(figures) < 2:
        return number(figures[0], digits) if figures else "-"
    return with_spread(spread_of(figures), digits)


def _show(what: str, figures: Sequence[float], digits: int = 2, *, target: str = "") -> None:
    print(what.ljust(50), shown(figures, digits), f"  target: {target}" if target else "")


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


class _Swaps(msgspec.Struct, frozen=True):
    """Of one round."""

    a_second: float
    cpu_us: float
    """PostgreSQL's, of one."""
    log: float
    """Bytes of one, without images of pages."""
    a_commit: float = 1


async def _beside_pgbench(server: Server, folder: Path) -> list[Row]:
    heading(f"PostgreSQL: Sessions.refresh beside pgbench of {CLIENTS} clients, a row swapped each")
    url = await server.new_database()
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION pg_walinspect")
    async with sessions_on(await open_store(url, create=True)) as sessions:
        few, many = [await Callers.sign_in(sessions, count) for count in (CLIENTS, MANY)]
        plain = await _Plain.made(server, url, folder, connection)
        clocks = {"PostgreSQL": lambda: cpu_seconds(server.pid)}
        bare, ours, of_many = [], [], []
        for _ in range(ROUNDS):
            bare.append(await plain.swaps())
            ours.append(await _turns(sessions, few, clocks, connection))
            of_many.append(await _turns(sessions, many, clocks, connection))
        _show_distance(bare, ours, of_many)
        alone = await show_alone(sessions, connection)
    await connection.close()
    return [
        *_rows_beside_pgbench(bare, {CLIENTS: ours, MANY: of_many}),
        Row("PostgreSQL, 1 caller: µs an exchange", "two statements, a signature", *alone),
    ]


def _rows_beside_pgbench(
    bare: Sequence[_Swaps], keyturn: Mapping[int, Sequence[_Swaps]]
) -> Iterator[Row]:
    pgbench = f"pgbench, {CLIENTS} clients"
    for what, field in (
        ("turns a second", "a_second"),
        ("CPU of PostgreSQL, µs", "cpu_us"),
        ("bytes of log", "log"),
    ):
        for count, swaps in keyturn.items():
            named = f"PostgreSQL, {count} callers: {what}"
            yield Row(named, pgbench, _of(swaps, field), _of(bare, field))
    for count, swaps in keyturn.items():
        named = f"PostgreSQL, {count} callers: turns a commit"
        yield Row(named, "", _of(swaps, "a_commit"), digits=1)


class _Plain:
    """pgbench, without what it costs to connect."""

    def __init__(self, server: Server, pgbench: Pgbench, connection: Any) -> None:
        self._server = server
        self._pgbench = pgbench
        self._connection = connection
        self._connecting = 0.0

    @classmethod
    async def made(cls, server: Server, url: str, folder: Path, connection: Any) -> _Plain:
        pgbench = Pgbench(server, url, folder, CLIENTS)
        await pgbench.make_table(connection)
        plain = cls(server, pgbench, connection)
        await pgbench.run(connection, "--transactions=1")
        connecting = [await plain._run("--transactions=1") for _ in range(ROUNDS)]
        plain._connecting = median_of([cpu for *_, cpu in connecting])
        return plain

    async def swaps(self) -> _Swaps:
        before = await log_position(self._connection)
        made, a_second, cpu = await self._run(f"--time={SECONDS:.0f}")
        written, _ = await written_since(self._connection, before)
        return _Swaps(a_second, (cpu - self._connecting) / made * 1e6, written / made)

    async def _run(self, limit: str) -> tuple[int, float, float]:
        """How many it made, how many a second, and the server's CPU seconds."""
        before = cpu_seconds(self._server.pid)
        made, a_second = await self._pgbench.run(self._connection, limit)
        return made, a_second, cpu_seconds(self._server.pid) - before


async def _turns(sessions: Sessions, callers: Callers, clocks: Clocks, connection: Any) -> _Swaps:
    before = await log_position(connection)
    turns = await a_round(sessions, callers, clocks)
    written, _ = await written_since(connection, before)
    return _Swaps(turns.a_second, turns.cpu_us["PostgreSQL"], written / turns.made, turns.a_commit)


def _show_distance(bare: list[_Swaps], ours: list[_Swaps], of_many: list[_Swaps]) -> None:
    keyturn = {CLIENTS: ours, MANY: of_many}
    for what, field, target in (
        ("turns a second / pgbench's", "a_second", ""),
        ("PostgreSQL CPU / pgbench's", "cpu_us", "below 0.5"),
        ("bytes of log / pgbench's", "log", ""),
    ):
        for count, swaps in keyturn.items():
            figures = ratios(_of(swaps, field), _of(bare, field))
            _show(f"{what}, {count} callers", figures, target=target)
    _show(f"turns a commit, {CLIENTS} callers", _of(ours, "a_commit"), 1, target="at least 8")
    _show(f"turns a commit, {MANY} callers", _of(of_many, "a_commit"), 1)
    for who, swaps in (
        (f"pgbench, {CLIENTS} clients", bare),
        *((f"Keyturn, {count} callers", swaps) for count, swaps in keyturn.items()),
    ):
        _show(f"{who}: a second", _of(swaps, "a_second"), 0)
        _show(f"{who}: PostgreSQL CPU µs", _of(swaps, "cpu_us"), 1)
        _show(f"{who}: bytes of log", _of(swaps, "log"), 0)


def _of(swaps: Sequence[_Swaps], field: str) -> list[float]:
    return [getattr(each, field) for each in swaps]


# ── signatures ──────────────────────────────────────────────────────────────────────────────────


async def _beside_signatures() -> list[Row]:
    heading("Signatures of cryptography alone, and Sessions.verify: CPU µs")
    rows: list[Row] = []
    for algorithm in ALGORITHMS:
        async with Sessions(
            await open_store("memory:"),
            secrets=[os.urandom(32)],
            issuer="https://example.com",
            signing_algorithm=algorithm,
        ) as sessions:
            rows += await _beside_signature(sessions, algorithm)
    _show_hs256()
    return rows


async def _beside_signature(sessions: Sessions, algorithm: str) -> list[Row]:
    unseen = [await _access_token(sessions, number) for number in range(CHECKS * ROUNDS)]
    fresh, raw = iter(unseen), (await _access_token(sessions, 0)).encode()
    sign, check = _alone(sessions, algorithm, unseen[0].rpartition(".")[0].encode())
    sessions.verify(raw.decode())
    works = {
        "sign": sign,
        "verify": check,
        "unseen": lambda: sessions.verify(next(fresh)),
        "seen": lambda: sessions.verify(raw.decode()),  # as a request brings it: a new string
    }
    rounds = [in_turns_us(works, CHECKS) for _ in range(ROUNDS)]
    sign_us, verify_us, unseen_us, seen_us = ([each[what] for each in rounds] for what in works)
    ratio = ratios(unseen_us, verify_us)
    _show(f"{algorithm}: token unseen / signature", ratio, target="at most 1.2")
    _show(f"{algorithm}: token seen before", seen_us, target="at most 2")
    _show(f"{algorithm}: token unseen", unseen_us, 1)
    _show(f"{algorithm}: signature made", sign_us, 1)
    _show(f"{algorithm}: signature checked", verify_us, 1)
    return [
        Row(f"{algorithm}: µs, token unseen", "the signature checked", unseen_us, verify_us, 1),
        Row(f"{algorithm}: µs, token seen before", "", seen_us, digits=2),
    ]


async def _access_token(sessions: Sessions, number: int) -> str:
    return (await sessions.create(f"user-{number}")).access_token


def _alone(
    sessions: Sessions, algorithm: str, data: bytes
) -> tuple[Callable[[], bytes], Callable[[], None]]:
    """What signs the data and what checks that, with nothing of ours."""
    private_key: Any = sessions.keyring.signing_key(sessions.now()).private_key
    scheme: tuple[Any, ...] = {
        "ES256": (ec.ECDSA(hashes.SHA256()),),
        "EdDSA": (),
        "RS256": (padding.PKCS1v15(), hashes.SHA256()),
    }[algorithm]
    signature, public_key = private_key.sign(data, *scheme), private_key.public_key()
    return (
        lambda: private_key.sign(data, *scheme),
        lambda: public_key.verify(signature, data, *scheme),
    )


def _show_hs256() -> None:
    """Made or checked, which is the same: for comparison, as whoever checks it can make it."""
    key, data = os.urandom(32), os.urandom(400)
    work = {"HS256": lambda: hmac.digest(key, data, "sha256")}
    figures = [in_turns_us(work, 10 * CHECKS)["HS256"] for _ in range(ROUNDS)]
    _show("HS256: signature made, or checked", figures)


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────


async def _beside_sqlite(folder: Path) -> list[Row]:
    heading("SQLite (synchronous=FULL): Sessions.refresh beside a row that is updated by APSW")
    async with sessions_on(await _new_file(folder / "keyturn.db")) as sessions:
        callers = await Callers.sign_in(sessions, MANY)
        row = await _row(folder / "bare.db")
        clocks = {"Python": time.process_time}
        bare, ours = [], []
        for _ in range(ROUNDS):
            bare.append(row.commits_a_second(SECONDS))
            ours.append(await a_round(sessions, callers, clocks))
        row.close()
    a_second = [each.a_second for each in ours]
    _show(f"turns a second / commits a second, {MANY} callers", ratios(a_second, bare))
    _show("commits a second, one row each", bare, 0)
    _show(f"turns a second, {MANY} callers", a_second, 0)
    a_commit = [each.a_commit for each in ours]
    _show(f"turns a commit, {MANY} callers", a_commit, 1)
    return [
        Row(f"SQLite, {MANY} callers: turns a second", "commits of a row", a_second, bare),
        Row(f"SQLite, {MANY} callers: turns a commit", "", a_commit, digits=1),
    ]


async def _new_file(file: Path) -> Any:
    return await open_store(f"sqlite:///{file}", create=True)


async def _row(file: Path) -> SQLiteRow:
    """Of a session of its own."""
    async with sessions_on(await _new_file(file)) as sessions:
        await sessions.create("user-0")
    return SQLiteRow(file)
