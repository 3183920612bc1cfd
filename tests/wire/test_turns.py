"""What costs much is done for one user after the other."""

from __future__ import annotations

import asyncio

import pytest

from keyturn.core.errors import Unavailable
from keyturn.wire import turns
from keyturn.wire.errors import AlreadyUnderWay
from keyturn.wire.turns import Turns


async def test_users_have_their_turns_one_after_the_other() -> None:
    """In the order they came, also behind one that fails."""
    of_all, seen = Turns(), list[str]()

    async def take(user: str) -> None:
        async with of_all.of(user):
            seen.append(f"{user} begins")
            await asyncio.sleep(0)
            seen.append(f"{user} ends")
            raise OSError

    await asyncio.gather(take("ada"), take("bob"), return_exceptions=True)

    assert seen == ["ada begins", "ada ends", "bob begins", "bob ends"]


async def test_nobody_waits_twice() -> None:
    """Neither behind their own turn, nor behind that of another; afterwards they may again."""
    of_all = Turns()

    async def outcome(user: str) -> str:
        try:
            async with of_all.of(user):
                await asyncio.sleep(0)
        except AlreadyUnderWay as error:
            return error.code
        return "done"

    first = await asyncio.gather(*map(outcome, ["ada", "ada", "bob", "bob", "ada"]))

    assert first == ["done", "already_under_way", "done", "already_under_way", "already_under_way"]
    assert [await outcome("ada"), await outcome("bob")] == ["done", "done"]


async def test_who_waits_too_long_for_others_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And may ask again, once they are done."""
    monkeypatch.setattr(turns, "_PATIENCE_SECONDS", 0)
    of_all = Turns()

    async with of_all.of("ada"):
        with pytest.raises(Unavailable, match="Too many users"):
            await of_all.of("bob").__aenter__()

    async with of_all.of("bob"):
        pass
