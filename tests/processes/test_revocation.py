"""How soon all servers on one store refuse what one of them has revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyturn import sessions
from keyturn.stores.postgres import store as postgres_store
from keyturn.stores.sqlite import store as sqlite_store
from tests.processes.revocations import delays_of
from tests.processes.servers import SERVERS, connections, register, serving_at_once


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "pgbouncer"], indirect=True)
async def test_what_one_server_revoked_the_others_refuse(
    settings: dict[str, str], tmp_path: Path
) -> None:
    """D12: each of four servers in turn acknowledges a logout; until then all accept the token.
    Behind PgBouncer nobody is told of it, and all have to look.
    """
    count = 3 * SERVERS
    async with (
        serving_at_once(tmp_path, **settings) as servers,
        connections(servers) as clients,
    ):
        await register(clients[0])
        delays = await delays_of(clients, count)

    print(f"refused by all after {delays[count // 2]:.3f} s, {delays[-1]:.3f} s at most")
    assert len(delays) == count


@pytest.mark.parametrize("store", [sqlite_store, postgres_store])
def test_the_followers_look_often_enough(store: object) -> None:
    """D12: a look at the store, and what a failed one adds, are together within a second."""
    assert store._POLL_SECONDS + sessions._POLL_SECONDS <= 1  # type: ignore[attr-defined]
