"""What runs beside the application."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keyturn.accounts import Accounts, service
from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.hooks.webhook import new_secret
from keyturn.server.assembly import application, check_settings, prepare
from keyturn.server.settings import Settings, load_settings

WEBHOOK = {
    "KEYTURN_WEBHOOK_URL": "https://example.com",
    "KEYTURN_WEBHOOK_SECRET": new_secret(bytes(32)),
}


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Of a server that has run once."""
    settings = load_settings({"KEYTURN_DATA_DIR": str(tmp_path / "data")})
    await prepare(settings, create=False)
    return settings


@pytest.mark.parametrize(
    ("name", "possible", "impossible", "others"),
    [
        ("access_ttl", 86_400, 86_401, {}),
        ("retry_window", 3600, 3601, {}),
        ("max_staleness", 2, 1, {"KEYTURN_ON_STALE": "refuse"}),
        ("event_retention", 259_200, 259_199, WEBHOOK),
    ],
)
def test_what_nobody_can_mean_is_refused(
    name: str, possible: int, impossible: int, others: dict[str, str]
) -> None:
    """As milliseconds for seconds; an access token of a month could never be called back."""

    def given(seconds: int) -> Settings:
        return load_settings({"HOME": "/", f"KEYTURN_{name.upper()}": str(seconds), **others})

    with pytest.raises(ConfigurationError, match=r"must be at (least|most)") as refused:
        check_settings(given(impossible))

    assert refused.value.setting == name
    check_settings(given(possible))


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
