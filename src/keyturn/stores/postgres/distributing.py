"""The tables laid out for an engine that shards them, and handed to Citus where that is there.

The functions of Citus are described in its manual, "Citus Utility Functions".
"""

from __future__ import annotations

from typing import Final

from .connecting import Connection

__all__ = ["citus_release", "distribute", "is_distributed", "is_sharded", "is_worker", "lay_out"]


async def is_sharded(connection: Connection) -> bool:
    """Whether the tables were laid out for an engine that shards them."""
    return bool(await connection.fetchval("SELECT sharded FROM keyturn.layout"))


async def lay_out(connection: Connection) -> None:
    """Give an event the key that leads to where its session is, and record the layout. Within a
    transaction, once.
    """
    await connection.execute(_LAY_OUT)


# Events are still swept by age, which the new key does not lead to.
_LAY_OUT: Final = """
    UPDATE keyturn.event SET sid = '' WHERE sid IS NULL;
    ALTER TABLE keyturn.event
        ALTER COLUMN sid SET NOT NULL, DROP CONSTRAINT event_pkey, ADD PRIMARY KEY (sid, id);
    DROP INDEX keyturn.event_of_session;
    CREATE INDEX event_by_age ON keyturn.event (id);
    INSERT INTO keyturn.layout (id, sharded) VALUES (1, true)"""


async def citus_release(connection: Connection) -> int | None:
    """The first number of the release of Citus; None where it is not in this database."""
    query = "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'"
    version: str | None = await connection.fetchval(query)
    return None if version is None else int(version.partition(".")[0])


async def is_worker(connection: Connection) -> bool:
    """Whether this is a node of Citus that is not the coordinator."""
    query = "SELECT groupid <> 0 FROM pg_catalog.pg_dist_local_group"
    return bool(await connection.fetchval(query))


async def is_distributed(connection: Connection) -> bool:
    """Whether Citus has the tables already."""
    query = """SELECT count(*) > 0 FROM pg_catalog.pg_dist_partition
        WHERE logicalrelid = 'keyturn.session'::pg_catalog.regclass"""
    return bool(await connection.fetchval(query))


async def distribute(connection: Connection) -> None:
    """Hand the tables to Citus, with what is in them. Within a transaction, once. It takes no table
    with a trigger, so there are no hooks then.
    """
    await connection.execute("DROP TRIGGER IF EXISTS tell_hooks ON keyturn.event")
    for call in _DISTRIBUTE:
        await connection.execute(f"SELECT pg_catalog.{call}")


# The first two leave the old rows behind on this node, unseen, with the secrets in them. The last
# moves nothing, but lets Citus know of a table that stays: see ``sharded``.
_DISTRIBUTE: Final = (
    "create_distributed_table('keyturn.session', 'sid', colocate_with => 'none')",
    "create_distributed_table('keyturn.event', 'sid', colocate_with => 'keyturn.session')",
    "truncate_local_data_after_distributing_table('keyturn.session')",
    "truncate_local_data_after_distributing_table('keyturn.event')",
    "citus_add_local_table_to_metadata('keyturn.layout')",
)
