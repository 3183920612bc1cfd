"""Numbered scripts are run once, in order, and never changed."""

from __future__ import annotations

import re
from collections.abc import Sequence

import apsw
import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.stores.migrations import Migration, shipped_migrations
from keyturn.stores.sqlite.migrate import migrate
from keyturn.stores.sqlite.opening import transact

ONE = Migration("0001_one.sql", "CREATE TABLE one (x); INSERT INTO one VALUES (1);")
TWO = Migration("0002_two.sql", "INSERT INTO one VALUES (2); CREATE TABLE two (x);")
THREE = Migration("0003_three.sql", "INSERT INTO one VALUES (3);")


def upgrade(connection: apsw.Connection, *migrations: Migration) -> None:
    transact(connection, "BEGIN IMMEDIATE", lambda locked: migrate(locked, migrations))


def ones(connection: apsw.Connection) -> list[int]:
    return [x for (x,) in connection.execute("SELECT x FROM one ORDER BY x")]


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


def test_each_is_run_once_in_order(connection: apsw.Connection) -> None:
    """A new database gets all, an older one what it lacks."""
    upgrade(connection, ONE)
    upgrade(connection, ONE, TWO)
    upgrade(connection, ONE, TWO, THREE)
    upgrade(connection, ONE, TWO, THREE)

    assert ones(connection) == [1, 2, 3]


def test_one_that_fails_leaves_nothing(connection: apsw.Connection) -> None:
    """Nor do those that ran before it in the same start."""
    upgrade(connection, ONE)
    broken = Migration("0003_broken.sql", "INSERT INTO one VALUES (3); INSERT INTO absent VALUES;")

    with pytest.raises(apsw.SQLError):
        upgrade(connection, ONE, TWO, broken)

    assert ones(connection) == [1]
    upgrade(connection, ONE, TWO)
    assert ones(connection) == [1, 2]


@pytest.mark.parametrize(
    ("applied", "known", "told"),
    [
        ([ONE, TWO], [ONE], "newer release of Keyturn; install that one"),
        ([ONE], [Migration(ONE.name, ONE.script + " "), TWO], "another text of migration 0001_one"),
        ([ONE, TWO, THREE], [ONE, THREE], "migration 0002, which this release does not have"),
        ([ONE, THREE], [ONE, TWO, THREE], "lacks migration 0002_two.sql"),
    ],
)
def test_another_history_is_refused(
    connection: apsw.Connection, applied: Sequence[Migration], known: Sequence[Migration], told: str
) -> None:
    """With what to do about it, and nothing done."""
    upgrade(connection, *applied)
    before = connection.execute("SELECT * FROM migration").fetchall()

    with pytest.raises(ConfigurationError, match=re.escape(told)):
        upgrade(connection, *known)

    assert connection.execute("SELECT * FROM migration").fetchall() == before


def test_the_shipped_ones_are_numbered_without_gaps() -> None:
    """Each number once, from 1."""
    numbers = [migration.number for migration in shipped_migrations("keyturn.stores.sqlite")]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
