"""Several ``worker`` processes on one store, and how to have two of them act at the same moment."""

from __future__ import annotations

import asyncio
import itertools
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

__all__ = ["PATIENCE", "ROOT", "Deed", "Encounters", "Team", "Worker", "team"]

ROOT: Final = Path(__file__).parents[2]

PATIENCE: Final = 20
"""Seconds after which a process is not slow, but stuck."""

_HEAD_START: Final = 0.004  # seconds for orders to arrive
_STEP: Final = 0.0003
_JITTER: Final = 0.001


Deed = tuple[Any, ...]
"""What a worker can do, by its name, with its arguments."""


class Worker:
    """One of the processes. It does all that it is told at once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._awaited: dict[int, asyncio.Future[Answer]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def do(self, deed: Deed, now: int, moment: float = 0) -> Answer:
        assert self._process.stdin
        number = next(self._numbers)
        name, *arguments = deed
        order = Order(number, name, arguments, now, moment)
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._awaited[number] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            return await self._awaited[number]

    async def _listen(self) -> None:
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            number, answer = msgspec.json.decode(line, type=tuple[int, Answer])
            self._awaited.pop(number).set_result(answer)

    async def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await self._listening
        assert await self._process.wait() == 0


class Team:
    """The processes."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers

    async def do(self, deed: Deed, now: int) -> Any:
        """Have the last of them do what cannot be refused."""
        answer = await self._workers[-1].do(deed, now)
        assert not answer.refusal, answer.refusal
        return answer.value

    async def all_do(self, deed: Deed, now: int) -> list[Answer]:
        """What each of them answers."""
        return await asyncio.gather(*(worker.do(deed, now) for worker in self._workers))

    async def two_do(self, one: Deed, other: Deed, now: int, lead: float) -> tuple[Answer, Answer]:
        """Release a deed on one process, and ``lead`` seconds later (or sooner) one on another."""
        moment = time.monotonic() + _HEAD_START
        return await asyncio.gather(
            self._workers[0].do(one, now, moment + max(0, -lead)),
            self._workers[1].do(other, now, moment + max(0, lead)),
        )


class Encounters:
    """How far apart two deeds are to be released so that they meet: whichever came first is
    released a little later the next time, give or take some chance; and by ever more, as long as
    it stays the same one.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._lead = 0.0
        self._step = 0.0
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
        step = -_STEP if first else _STEP
        self._step = 1.3 * self._step if step * self._step > 0 else step
        self._lead += self._step


@asynccontextmanager
async def team(url: str, flaw: str = "", *, size: int = 3) -> AsyncIterator[Team]:
    """So many processes on the new store at ``url``."""
    command = [sys.executable, "-m", worker.__name__, url, flaw]
    workers = [
        Worker(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=ROOT))
        for _ in range(size)
    ]
    try:
        yield Team(workers)
    finally:
        await asyncio.gather(*(each.end() for each in workers))
