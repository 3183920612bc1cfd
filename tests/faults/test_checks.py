"""Clients and examination find what they are there to find, and nothing where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.core.model import Policy
from keyturn.stores.sqlite import SQLiteStore
from tests.faults.clients import Client, crowd
from tests.faults.flawed import (
    DoubleTurn,
    LostAnswer,
    LostEnd,
    LostTurn,
    Message,
    deletes_cookies,
    flawed_stage,
    logs_out,
    never_says_when,
    pardons,
)
from tests.faults.stage import Stage, engine_on
from tests.processes.flaws import FLAWS
from tests.processes.races import Wrong
from tests.support import Altered

MANY = 24


async def exchange(stage: Stage) -> list[Client]:
    """Clients who have all exchanged, and some have logged out."""
    clients = await stage.clients(MANY)
    async with crowd(clients, per_second=1000) as them:
        await them.turns_more(MANY)
        await them.log_out(clients[:4])
    return clients


async def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    """Though each has an answer lost, and some log out."""
    async with flawed_stage(tmp_path, store=LostAnswer) as stage:
        clients = await exchange(stage)
        found = await stage.examine(clients)

    assert found == {"living": MANY - 4, "logged out": 4}
    assert all(client.met["503"] for client in clients)
    assert {client.log_out_met for client in clients} == {"", "200"}


@pytest.mark.parametrize(
    ("change", "offence"),
    [
        (logs_out, "an exchange was answered 401 unavailable"),
        (deletes_cookies, "an exchange deleted a cookie"),
        (never_says_when, "503 without Retry-After"),
    ],
)
async def test_clients_take_offence(
    tmp_path: Path, change: Callable[[Message], None], offence: str
) -> None:
    """C12: at once, at any of these in place of a 503."""
    async with flawed_stage(tmp_path, store=LostAnswer, change=change) as stage:
        with pytest.raises(Wrong, match=offence):
            await exchange(stage)


@pytest.mark.parametrize(
    ("store", "finding"),
    [
        (LostTurn, "the store lost a turn"),
        (DoubleTurn, "a token turned twice"),
        (LostEnd, "a logout that was acknowledged is undone"),
        (FLAWS["SilentEnd"], "the access token outlives the session"),
    ],
)
async def test_the_mistakes_of_a_store_are_found(
    tmp_path: Path, store: type[SQLiteStore | Altered], finding: str
) -> None:
    """C4, C7: afterwards, though no client met anything strange."""
    async with flawed_stage(tmp_path, store=store) as stage:
        clients = await exchange(stage)

        with pytest.raises(Wrong, match=finding):
            await stage.examine(clients)


async def test_servers_that_judge_alone_are_found(tmp_path: Path) -> None:
    """C8: without a window, each hands out a token of its own for the same one."""
    async with flawed_stage(tmp_path, policy=Policy(retry_window=0)) as stage:
        clients = await stage.clients(1)

        with pytest.raises(Wrong, match="a session has two chains"):
            await stage.examine(clients)


async def test_a_superseded_token_that_is_good_is_found(tmp_path: Path) -> None:
    """C3: of those who exchanged at all."""
    async with flawed_stage(tmp_path, change=pardons) as stage:
        clients = await exchange(stage)

        with pytest.raises(Wrong, match="a superseded token is good"):
            await stage.examine(clients)


async def test_an_end_that_nobody_asked_for_is_found(tmp_path: Path) -> None:
    """Whatever its reason."""
    async with flawed_stage(tmp_path) as stage, engine_on(stage.store) as sessions:
        clients = await exchange(stage)
        await sessions.revoke(clients[-1].sid)

        with pytest.raises(Wrong, match="logged out by mistake: revoked_by_admin"):
            await stage.examine(clients)


async def test_a_lost_session_is_found(tmp_path: Path) -> None:
    """Unless the store fell back to a time before it."""
    async with flawed_stage(tmp_path / "one") as stage, flawed_stage(tmp_path / "two") as other:
        clients = await exchange(other)
        strangers = [Client(each.sid, each.wallet, stage.ports) for each in clients]

        with pytest.raises(Wrong, match="a session is lost"):
            await stage.examine(strangers)
        assert await stage.examine(strangers, fell_back=True) == {"unknown": MANY}
