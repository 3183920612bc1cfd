"""First starts that are killed at their n-th step: ``python -m tests.processes.first_start``.

For each line of JSON in, a process is forked that prepares a data folder as ``keyturn serve`` does.
Every statement of SQL, and every touch of a path in the folder, is a step. A line tells the signal
that it died of, or 0.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import apsw
import msgspec

from keyturn.server.assembly import prepare
from keyturn.server.settings import load_settings

__all__ = ["Start"]


class Start(msgspec.Struct):
    """A first start in ``folder``, killed before step ``last``, if it has so many."""

    folder: str
    last: int


class Steps:
    """Counts them, and kills this process before the last one."""

    def __init__(self, start: Start) -> None:
        self._folder = start.folder
        self._left = start.last

    def watch(self) -> None:
        sys.addaudithook(self._audit)
        apsw.connection_hooks.append(lambda connection: connection.set_exec_trace(self._trace))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        touches = event == "open" or event.startswith("os.")
        if touches and any(str(argument).startswith(self._folder) for argument in arguments):
            self._step()

    def _trace(self, *_: Any) -> bool:
        self._step()
        return True

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Fork, before there are threads, and wait."""
    for line in sys.stdin:
        start = msgspec.json.decode(line, type=Start)
        if (child := os.fork()) == 0:
            Steps(start).watch()
            settings = load_settings({"KEYTURN_DATA_DIR": start.folder})
            asyncio.run(prepare(settings, create=False))
            os._exit(0)
        died_of = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(died_of, flush=True)


if __name__ == "__main__":
    main()
