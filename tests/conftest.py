"""A PostgreSQL for whichever tests need one, and fresh databases on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# What helpers assert is explained as well.
pytest.register_assert_rewrite(*(f"tests.{each.stem}" for each in Path(__file__).parent.iterdir()))

from tests.commands import NOWHERE, PASSWORD, Command  # noqa: E402
from tests.postgresql import Server, running  # noqa: E402

# A slow machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """The tests' own server."""
    with running() as server:
        yield server


@pytest.fixture
async def database(postgresql: Server) -> str:
    """The URL of an empty database on the tests' own server."""
    return await postgresql.new_database()


@pytest.fixture
def keyturn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """After ``keyturn init``, with user ada; no server runs that must learn of a new key."""
    monkeypatch.setattr("keyturn.sessions.KNOWN_AFTER", 0)
    command = Command(tmp_path)
    command.environment |= NOWHERE
    command.told("init")
    command.told(
        "users", "add", "ada", "ada@example.com", "Ada L", "--password-stdin", typed=PASSWORD
    )
    return command


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What lives as long as the run is looked through no more for garbage, which took longer and
    longer.
    """
    gc.collect()
    gc.freeze()
