"""How a process ends when it is told to: by SIGTERM, SIGINT or SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn, TypeVar

__all__ = ["STOPS", "end_when_told", "unless_stopped"]

_Opened = TypeVar("_Opened")

STOPS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    # Whoever starts it under nohup wants it to outlive the terminal.
    *({signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()),
)


def end_when_told() -> None:
    """From now on a stop ends the process tidily, by ``SystemExit``, wherever it just is; and no
    further one disturbs that.
    """
    for stop in STOPS:
        signal.signal(stop, _end)


def _end(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    _leave()


def _leave() -> NoReturn:
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise SystemExit(0)


async def unless_stopped(opening: Awaitable[_Opened]) -> _Opened:
    """What ``opening`` gives. A stop meanwhile cancels it where it waits: elsewhere it would leave
    things half made, such as a connection that cannot even be thrown away without complaint. What
    blocks the loop is not disturbed.

    Raises:
        SystemExit: after a stop.
    """
    loop, task, stopped = asyncio.get_running_loop(), asyncio.current_task(), False

    def cancel(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal stopped
        if task is not None and not stopped:
            stopped = True
            loop.call_soon_threadsafe(task.cancel)

    for stop in STOPS:
        signal.signal(stop, cancel)
    try:
        return await opening
    finally:
        if stopped and task is not None:
            # The cancellation has yet to come, where nothing was waited for.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            task.uncancel()
        end_when_told()
        if stopped:
            _leave()
