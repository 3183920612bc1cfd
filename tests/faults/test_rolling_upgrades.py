"""Servers of the previous release give way to those of this one while people exchange tokens."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from keyturn.wire.settings import REFRESH_PATH
from tests.faults.clients import PATIENCE, crowd, honest_clients
from tests.faults.stage import SETTINGS, engine_on, on_stage
from tests.processes.http_client import Connection, connected
from tests.processes.servers import register, sign_in
from tests.server.processes import run_keyturn

PREVIOUS = "07883e424dcb2a2e63f6e043caef0b4adc1661b0"
"""The commit that stands for the previous release, which served files of SQLite only."""

ROOT = Path(__file__).parents[2]
CLIENTS = 40
PER_SECOND = 20
SOME = 10
JWKS_PATH = "/.well-known/jwks.json"


@pytest.fixture
def previous(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``keyturn`` is the previous release."""
    command = ["git", "-C", str(ROOT), "archive", PREVIOUS, "src"]
    try:
        archive = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the history of git that holds the previous release is not here: {error}")
    folder = tmp_path / "previous"
    folder.mkdir()
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    # The script that is installed begins there; that of an older release began elsewhere.
    (folder / "src" / "keyturn" / "__main__.py").write_text("from keyturn.cli import main\n")
    environment = {"PYTHONPATH": str(folder / "src")}
    assert place_of_keyturn(environment).is_relative_to(tmp_path)
    return environment


def place_of_keyturn(environment: dict[str, str]) -> Path:
    """Where programs in that environment find it."""
    command = [sys.executable, "-c", "import keyturn; print(keyturn.__file__)"]
    return Path(subprocess.check_output(command, text=True, env=os.environ | environment))


@pytest.fixture
def present() -> dict[str, str]:
    """An environment in which it is this one."""
    return {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}


async def test_servers_of_the_previous_release_are_replaced_one_by_one(
    tmp_path: Path, previous: dict[str, str], present: dict[str, str]
) -> None:
    """Nobody is logged out by it; who logs out is known to both releases, whichever was asked."""
    file = tmp_path / "keyturn.db"
    settings = {**SETTINGS, "KEYTURN_DATABASE_URL": f"sqlite:///{file}", **previous}
    assert run_keyturn(tmp_path, "init", **settings).returncode == 0
    async with on_stage(tmp_path, f"sqlite:///{file}", settings=previous) as stage:
        async with connected(stage.ports[0]) as server:
            await register(server)
            signed_in = [await sign_in(server) for _ in range(CLIENTS)]
        clients = honest_clients(signed_in, stage.ports)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.turns_more(SOME)
            await stage.restart(1, **present)
            let_minute_pass(file)
            await them.turns_more(SOME)
            await them.log_out(clients[:6])
            await stage.learns_of(clients[:6])
            async with connected(stage.ports[0]) as older, connected(stage.ports[1]) as newer:
                await expect_agreement(older, newer)
                await expect_agreement(newer, older)
                async with engine_on(stage.store) as sessions:
                    kid = await sessions.rotate_keys()
                await expect_key(kid, older, newer)
            await stage.restart(0, **present)
            let_minute_pass(file)
            await them.turns_more(SOME)
            await them.log_out(clients[6:12])
            await them.recovers()
        found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert {client.log_out_met for client in clients[:12]} == {"200"}
    assert found["logged out"] == 12
    assert found["living"] + found["recovered"] == CLIENTS - 12


def let_minute_pass(file: Path) -> None:
    """Instead of waiting, let what happened have happened earlier."""
    with closing(apsw.Connection(str(file))) as connection:
        connection.set_busy_timeout(5000)
        connection.execute("UPDATE session SET turned_at = turned_at - 60")


async def expect_agreement(one: Connection, other: Connection) -> None:
    """What one of them begins the other goes on with, and ends for both."""
    begun = await sign_in(one)
    turned = await other.post(REFRESH_PATH, refreshToken=begun.refresh_token)
    replayed = await one.post(REFRESH_PATH, refreshToken=begun.refresh_token)
    assert turned.refresh_token == replayed.refresh_token != begun.refresh_token
    for server in (one, other):
        for reply in (begun, turned, replayed):
            assert (await server.get("/me", reply.access_token)).status == 200
    assert (await other.post("/logout", refreshToken=turned.refresh_token)).status == 200
    for reply in (begun, turned, replayed):
        async with asyncio.timeout(PATIENCE):
            while (await one.get("/me", reply.access_token)).status != 401:
                pass
        refused = await one.post(REFRESH_PATH, refreshToken=reply.refresh_token)
        assert refused.document["reason"] == "logged_out"


async def expect_key(kid: str, *servers: Connection) -> None:
    """All publish it, and the same others."""
    async with asyncio.timeout(PATIENCE):
        while not all([kid in await published(server) for server in servers]):
            pass
    assert len({frozenset(await published(server)) for server in servers}) == 1


async def published(server: Connection) -> list[str]:
    """The ids of the keys."""
    return [key["kid"] for key in (await server.get(JWKS_PATH)).document["keys"]]
