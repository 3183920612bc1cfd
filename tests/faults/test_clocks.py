"""Clocks of servers that are wrong: set while they run, or apart from each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.faults.clients import Client, crowd
from tests.faults.clocks import Clock, ahead_by
from tests.faults.stage import POLICY, on_stage
from tests.stores.postgres.support import connected

CLIENTS = 150
FEW = 40
PER_SECOND = 40
SOME = 30
HOUR = 3600
MINUTE_PASSES = "UPDATE keyturn.session SET turned_at = turned_at - 60"


@pytest.mark.parametrize("ahead", [-HOUR, 2 * HOUR])
async def test_a_clock_that_is_set_and_put_right_again(
    tmp_path: Path, database: str, ahead: int
) -> None:
    """C9, D12: it logs nobody out; who logs out before, meanwhile or afterwards stays out, with all
    access tokens, also where a server is restarted.
    """
    clock = Clock(tmp_path / "clock")
    async with on_stage(tmp_path, database, settings=clock.environment) as stage:
        clients = await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.turns_more(SOME)
            await them.log_out(clients[:4])
            clock.set(ahead=ahead)
            await them.log_out(clients[4:8])
            await them.turns_more(SOME)
            shown = max((ahead_by(each.wallet.access_token) for each in them.begun), key=abs)
            await them.log_out(clients[8:12])
            clock.set(ahead=0)
            await them.log_out(clients[12:16])
            await stage.restart(1)
            await them.meets(SOME, "200")
            await them.log_out(clients[16:20])
            await them.recovers()
        found = await stage.examine(clients)

    print(f"{them}; the clock was {shown} s ahead; {dict(found)}")
    assert abs(shown - ahead) < 60
    assert {client.log_out_met for client in clients[:20]} == {"200"}
    assert found["logged out"] == 20
    assert found["living"] + found["recovered"] == CLIENTS - 20


async def test_clocks_a_whole_window_apart(tmp_path: Path, database: str) -> None:
    """SPEC 4.3: safe for clients with one exchange at a time; others would have no time left."""
    clock = Clock(tmp_path / "clock")
    clock.set(ahead=POLICY.retry_window)
    async with on_stage(tmp_path, database) as stage:
        await stage.restart(0, **clock.environment)
        clients = [each for each in await stage.clients(2 * FEW) if each.wallet.tabs == 1]
        async with connected(database) as admin, crowd(clients, per_second=FEW) as them:
            for turns in range(1, 6):
                await them.until(partial(have_turned, clients, turns))
                await admin.execute(MINUTE_PASSES)
            apart = max(ahead_by(client.wallet.access_token) for client in clients)
            await them.log_out(clients[:10])
            await them.recovers()
        found = await stage.examine(clients)

    print(f"{them}; the clocks were {apart} s apart; {dict(found)}")
    assert apart > POLICY.retry_window / 2
    assert {client.log_out_met for client in clients[:10]} == {"200"}
    assert found == {"living": FEW - 10, "logged out": 10}


def have_turned(clients: list[Client], turns: int) -> bool:
    """Whether each of them got a new token so many times."""
    return all(len(client.held) > turns for client in clients)
