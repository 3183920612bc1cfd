"""Several ``worker`` processes on one file, and how to have two of them act at the same moment."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any, Final

import msgspec

from tests.processes import worker
from tests.processes.worker import Answer, Order
from tests.support import START

__all__ = ["PATIENCE", "ROOT", "Encounters", "Team", "Worker", "team"]

ROOT: Final = Path(__file__).parents[2]

PATIENCE: Final = 20
"""Seconds after which a process is not slow, but stuck."""

_HEAD_START: Final = 0.004  # seconds for orders to arrive
_STEP: Final = 0.0001
_JITTER: Final = 0.001


class Worker:
    """One of the processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, order: Order) -> Answer:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(PATIENCE):
            return msgspec.json.decode(await self._process.stdout.readline(), type=Answer)

    async def end(self) -> None:
        await self._process.communicate(b"")
        assert self._process.returncode == 0


class Team:
    """The processes, and the time on their clocks."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self.now = START

    async def do(self, deed: str, *arguments: Any) -> Any:
        """Have the last of them do what cannot be refused."""
        answer = await self._workers[-1].do(self._order(deed, arguments))
        assert not answer.refusal
        return answer.value

    async def all_do(self, deed: str, *arguments: Any) -> list[Answer]:
        """What each of them answers."""
        order = self._order(deed, arguments)
        return await asyncio.gather(*(worker.do(order) for worker in self._workers))

    async def two_do(
        self, one: tuple[Any, ...], other: tuple[Any, ...], lead: float
    ) -> tuple[Answer, Answer]:
        """Release a deed on one process, and ``lead`` seconds later (or sooner) one on another."""
        moment = time.monotonic() + _HEAD_START
        return await asyncio.gather(
            self._workers[0].do(self._order(one[0], one[1:], moment + max(0, -lead))),
            self._workers[1].do(self._order(other[0], other[1:], moment + max(0, lead))),
        )

    def _order(self, deed: str, arguments: tuple[Any, ...], moment: float = 0) -> Order:
        return Order(deed, list(arguments), self.now, moment)


class Encounters:
    """How far apart two deeds are to be released so that they meet: whichever came first is
    released a little later the next time, give or take some chance.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._lead = 0.0
        self.first = 0
        self.second = 0

    @property
    def lead(self) -> float:
        """Seconds that the first deed is to be ahead."""
        return self._lead + self._random.uniform(-_JITTER, _JITTER)

    def saw(self, *, first: bool) -> None:
        """The first deed took effect before the other, or after it."""
        self.first += first
        self.second += not first
        self._lead += -_STEP if first else _STEP


@asynccontextmanager
async def team(folder: Path, flaw: str = "") -> AsyncIterator[Team]:
    """Three processes on a new file in ``folder``."""
    command = [sys.executable, "-m", worker.__name__, str(folder / "keyturn.db"), flaw]
    workers = [
        Worker(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT))
        for _ in range(3)
    ]
    try:
        yield Team(workers)
    finally:
        await asyncio.gather(*(each.end() for each in workers))
