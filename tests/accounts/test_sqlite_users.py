"""What the users in a file of SQLite cost: no statement reads a table from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from keyturn.accounts import User
from keyturn.accounts.sqlite import SQLiteUsers
from keyturn.accounts.throttle import identifier_key
from keyturn.core.model import Claims, Device, EndReason
from keyturn.stores.base import ClaimsChange, Ending
from keyturn.stores.sqlite import SQLiteStore
from tests.support import START

ADA = User(id="ada", username="ada", email="ada@example.com", fullname="Ada", created_at=START)
ENDING = Ending(EndReason.USER_DELETED, START, START + 800)
CHANGE = ClaimsChange(Claims(), START, 1, START + 800)
NAME = identifier_key(bytes(32), "ada")


async def use_everything(users: SQLiteUsers) -> None:
    await users.add(ADA, "hash")
    await users.add_many([(ADA, "hash")])
    await users.find_users(["ada"])
    await users.list_users(after="", limit=9)
    await users.settle([NAME], success=False, now=START)
    await users.clear([NAME])
    account = await users.find("ada")
    assert account is not None
    await users.rehash(account, "hash")
    await users.set_reset(ADA.id, b"digest", START + 9)
    await users.find_by_reset(b"digest", START)
    await users.set_password(account, "hash", ENDING, Device(), reset=b"digest")
    await users.disable(ADA.id, ENDING)
    await users.enable(ADA.id)
    account = await users.get(ADA.id)
    assert account is not None
    await users.change(account, ADA, CHANGE)
    await users.delete(ADA.id, ENDING)
    await users.sweep(START, 9)


async def test_no_statement_scans_a_table_that_grows(tmp_path: Path) -> None:
    """Each looks rows up by an index; only pages and sweeps walk along one, up to their limit."""
    store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)
    asked: list[tuple[str, Any]] = []

    def remember(_: object, sql: str, bindings: Any) -> bool:
        asked.append((sql, bindings))
        return True

    def explain(connection: apsw.Connection) -> list[str]:
        connection.exec_trace = None
        return [
            f"{detail} for {sql}"
            for sql, bindings in asked
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
        ]

    def listen(connection: apsw.Connection) -> None:
        connection.exec_trace = remember

    await store.engine.read(listen)
    await store.engine.write(listen)
    await use_everything(SQLiteUsers(store.engine))
    plans = await store.engine.read(explain)
    await store.close()

    assert len(asked) > 40
    growing = ("SCAN account", "SCAN failures", "SCAN password_reset", "SCAN session", "SCAN event")
    scans = [plan for plan in plans if plan.startswith(growing) and "LIMIT ?" not in plan]
    assert scans == []
