"""What runs beside the application."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keyturn.accounts import Accounts, service
from keyturn.core.errors import StoreUnavailable
from keyturn.server.assembly import application, prepare
from keyturn.server.settings import Settings, load_settings


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Of a server that has run once."""
    settings = load_settings({"KEYTURN_DATA_DIR": str(tmp_path / "data")})
    await prepare(settings, create=False)
    return settings


async def test_accounts_are_swept_again_and_again_whatever_happens(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failing sweep is told, and the next one comes all the same."""
    failures: list[Exception] = [StoreUnavailable("The disk is full"), ValueError("of ours")]
    swept = asyncio.Event()

    async def sweep(_: Accounts) -> int:
        if failures:
            raise failures.pop(0)
        swept.set()
        return 0

    monkeypatch.setattr(service, "_SWEEP_SECONDS", 0)
    monkeypatch.setattr(Accounts, "sweep", sweep)
    async with application(settings), asyncio.timeout(20):
        await swept.wait()

    outage, fault = (record for record in caplog.records if "cannot sweep" in record.message)
    assert outage.message.endswith("The disk is full")
    assert outage.exc_info is None
    assert fault.exc_info is not None


async def test_nothing_runs_on_after_the_application(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep in the midst is ended before the database is closed, also after a failure."""
    sweeping, ended = asyncio.Event(), asyncio.Event()

    async def sweep(_: Accounts) -> int:
        sweeping.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    monkeypatch.setattr(service, "_SWEEP_SECONDS", 0)
    monkeypatch.setattr(Accounts, "sweep", sweep)

    async def fail_in_mid_sweep() -> None:
        async with application(settings), asyncio.timeout(20):
            await sweeping.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_in_mid_sweep()

    assert ended.is_set()
    assert len(asyncio.all_tasks()) == 1
