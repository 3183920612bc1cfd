"""``keyturn`` on a store whose turns wait for a sign: what a test needs to stop it in mid-turn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import keyturn.stores.sqlite
from keyturn.cli import main
from keyturn.stores.base import Swap

BEGUN = Path(os.environ["TURN_BEGUN"])
MAY_END = Path(os.environ["TURN_MAY_END"])


def wait_at_gate() -> None:
    BEGUN.touch()
    while not MAY_END.exists():
        time.sleep(0.01)


class SlowStore(keyturn.stores.sqlite.SQLiteStore):
    """Says when a turn began, and ends it once it is told that it may."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        await asyncio.to_thread(wait_at_gate)
        return await super().swap(swaps)


if __name__ == "__main__":
    keyturn.stores.sqlite.SQLiteStore = SlowStore  # type: ignore[misc]
    main()
