"""Waiting for news of PostgreSQL, and being told to stop."""

from __future__ import annotations

import asyncio
from typing import cast
from unittest.mock import Mock

import pytest

from keyturn.stores.postgres.connecting import Connector
from keyturn.stores.postgres.listening import Listener


@pytest.mark.parametrize("news_first", [True, False])
async def test_news_that_come_with_a_cancellation_do_not_undo_it(*, news_first: bool) -> None:
    """A server that stops just then would wait for its follower for ever."""
    listener = Listener(cast("Connector", Mock(direct=False)))
    waiting = asyncio.create_task(listener.wait(60))
    await asyncio.sleep(0)
    if news_first:
        listener._news.set()
    waiting.cancel()
    listener._news.set()

    with pytest.raises(asyncio.CancelledError):
        await waiting
