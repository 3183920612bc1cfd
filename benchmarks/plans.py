"""How the databases find what they are asked for, once their tables are large."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import apsw

from keyturn import Store
from keyturn.stores.postgres import gathered, statements

__all__ = ["WHOLE", "postgres_plans", "sqlite_plans"]

_ASKED: Final = {
    "an exchange": (statements.GET, gathered._GET_MANY, statements.TURN, gathered._TURN_MANY),  # noqa: SLF001
    "a list": (statements._LIST,),  # noqa: SLF001
    "a revocation": (gathered._END,),  # noqa: SLF001
    "a page of a sweep": (
        statements._PAGE,  # noqa: SLF001
        gathered._SWEEP_SESSIONS,  # noqa: SLF001
        gathered._SWEEP_EVENTS,  # noqa: SLF001
        statements._SWEEP_CUTOFFS,  # noqa: SLF001
    ),
}
_GROWING: Final = {"session", "event", "cutoff", "user_epoch"}

WHOLE: Final = "all of "
"""Precedes the name of a table that is read from its beginning to its end."""


async def postgres_plans(store: Any) -> dict[str, set[str]]:
    """For each thing the indexes that are looked into, and what is read as a whole.

    Sequential scans are dear to a store's connections, so what would be one goes along an index:
    it is told by that it looks for nothing there, and is not stopped by a LIMIT.
    """
    connection = await store.engine._connector.connect()  # noqa: SLF001  on its own settings
    try:
        return {
            what: set().union(*[await _ways(connection, each) for each in asked])
            for what, asked in _ASKED.items()
        }
    finally:
        await connection.close()


async def _ways(connection: Any, statement: str) -> set[str]:
    arguments = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", statement))))
    await connection.execute(f"PREPARE asked AS {statement}")
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({arguments})")
    await connection.execute("DEALLOCATE asked")
    return set(_ways_of(json.loads(plan)[0]["Plan"], within=""))


def _ways_of(node: dict[str, Any], within: str) -> Iterator[str]:
    kind, table = node["Node Type"], node.get("Relation Name")
    if kind.endswith("Scan") and table in _GROWING and kind != "Bitmap Heap Scan":
        bounded = "Index Cond" in node or within == "Limit"
        yield node["Index Name"] if bounded else f"{WHOLE}{table}"
    if kind == "Bitmap Index Scan":
        yield node["Index Name"]
    for inner in node.get("Plans", ()):
        yield from _ways_of(inner, kind)


async def sqlite_plans(
    store: Any, asked: Mapping[str, Callable[[], Awaitable[object]]]
) -> dict[str, set[str]]:
    """As ``postgres_plans``, of whatever each call says to the file: SQLite plans with bindings."""
    plans: dict[str, set[str]] = {}
    for what, ask in asked.items():
        said: list[tuple[str, Any]] = []
        await _overhear(store, partial(_noted, said))
        await ask()
        await _overhear(store, None)
        plans[what] = await store.engine.read(lambda connection: _found_by(connection, said))  # noqa: B023
    return plans


async def _overhear(store: Store, hear: Callable[..., bool] | None) -> None:
    def begin(connection: apsw.Connection) -> None:
        connection.exec_trace = hear

    engine: Any = store.engine  # type: ignore[attr-defined]
    await engine.read(begin)
    await engine.write(begin)


def _noted(said: list[tuple[str, Any]], _: apsw.Cursor, sql: str, bindings: Any) -> bool:
    said.append((sql, bindings))
    return True  # go on


def _found_by(connection: apsw.Connection, said: list[tuple[str, Any]]) -> set[str]:
    details = [
        (detail, "LIMIT ?" in sql)
        for sql, bindings in said
        if not sql.startswith(("BEGIN", "COMMIT"))
        for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]
    return set(filter(None, (_way(detail, limited=limited) for detail, limited in details)))


def _way(detail: str, *, limited: bool) -> str:
    """Empty where it is about no table that grows."""
    found = re.match(r"(SEARCH|SCAN) (\w+)\b(?:.*INDEX (\w+))?", detail)
    if found is None or found[2] not in _GROWING:
        return ""
    if found[1] == "SCAN" and not limited:
        return f"{WHOLE}{found[2]}"
    return found[3] or f"the key of {found[2]}"
