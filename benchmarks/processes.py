"""Processes on the bench: what a tree of them has used, and how much memory it has."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["cpu_seconds", "largest_mb", "run", "serving", "tree_of", "until_still"]

_STARTED_WITHIN: Final = 30
_ENDED_WITHIN: Final = 10
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")

_BETWEEN_LOOKS: Final = 0.2
_LOOKS: Final = 100
_HARDLY_ANY: Final = 0.1
"""Of one core: what servers and databases do by themselves, and what counting in ticks hides."""


def tree_of(pid: int) -> list[int]:
    """It, its children and theirs."""
    tree, fresh = [], [pid]
    while fresh:
        tree.append(fresh.pop())
        for children in Path(f"/proc/{tree[-1]}/task").glob("*/children"):
            with suppress(OSError):  # ended meanwhile
                fresh.extend(map(int, children.read_text().split()))
    return tree


def cpu_seconds(pid: int) -> float:
    """What a process and its descendants have used so far, those that have ended too."""
    return sum(map(_ticks, tree_of(pid))) / _TICKS_A_SECOND


def _ticks(pid: int) -> int:
    """Of itself and of those it has waited for; proc(5), fields 14 to 17 of stat."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:  # ended meanwhile: its parent tells
        return 0
    return sum(map(int, after_name.split()[11:15]))


def until_still(used: Callable[[], float], wait: Callable[[float], None] = time.sleep) -> None:
    """Wait until hardly any CPU is used any more, for 20 seconds at most: a server goes on with
    requests after whoever made them has left.

    Args:
        used: tells the CPU seconds so far.
        wait: lets so many seconds pass.
    """
    before = used()
    for _ in range(_LOOKS):
        wait(_BETWEEN_LOOKS)
        now = used()
        if now - before <= _HARDLY_ANY * _BETWEEN_LOOKS:
            return
        before = now


def largest_mb(pid: int) -> float:
    """Resident memory of the largest process of the tree."""
    return max(map(_resident_mb, tree_of(pid)))


def _resident_mb(pid: int) -> float:
    with suppress(OSError):
        if resident := re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()):
            return int(resident[1]) / 1024
    return 0


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout.decode()[-2000:]}")


@contextmanager
def serving(
    command: Sequence[str | Path],
    port: int,
    environment: Mapping[str, str],
    *,
    log: Path,
    core: int | None = None,
) -> Iterator[int]:
    """Within, the command's server answers on the port. Gives its pid. All that it prints goes into
    the file ``log``. With ``core`` it runs on that one alone.

    Raises:
        RuntimeError: it ended, or did not listen in time; with the end of what it printed.
    """
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*pinned, *command],
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if not _listens(server, port):
            raise RuntimeError(f"{command[0]} does not serve:\n{log.read_text()[-2000:]}")
        yield server.pid
    finally:
        _end(server)


def _listens(server: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + _STARTED_WITHIN
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_ENDED_WITHIN)
    with suppress(ProcessLookupError):  # whatever is left of its group
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
