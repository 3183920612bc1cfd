"""Several processes of ``keyturn serve``, and one that keeps them alive.

Workers are forked, so they start at once and share the listening socket and most of their memory.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from keyturn.core.errors import KeyturnError

from .counting import forget_worker, take_seat
from .exits import MISCONFIGURED, complain
from .stopping import STOPS

__all__ = ["hold_back_signals", "supervise"]

log = logging.getLogger("keyturn")

_SECONDS_TO_SETTLE: Final = 5
_LONGEST_PAUSE: Final = 30
_AWAITED: Final = {*STOPS, signal.SIGCHLD}


def hold_back_signals() -> None:
    """Before there is a thread, as one that does not hold them back would swallow them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)


def supervise(
    work: Callable[[], None], listener: socket.socket, count: int, *, as_json: bool
) -> int:
    """Keep ``count`` workers alive until a signal, then let them finish. They also finish when
    their supervisor is killed.

    Returns the exit code: 0, or that of a worker which found its configuration impossible. Where
    others serve well, that is for them to go on: the database may be of a newer release by now.
    """
    lifeline = os.pipe()
    workers: dict[int, _Worker] = {}

    def start(worker: _Worker) -> None:
        workers[_fork(work, lifeline, worker, as_json=as_json)] = worker

    for seat in range(count):
        start(_Worker(seat, begins_at=time.monotonic()))
    try:
        while signal.sigwait(_AWAITED) == signal.SIGCHLD:
            for pid, code in _ended():
                worker = workers.pop(pid)
                forget_worker(worker.seat)
                if code == MISCONFIGURED and not _any_settled(workers.values()):
                    return code
                next_worker = worker.successor(time.monotonic())
                after = f" after {next_worker.pause} s" if next_worker.pause else ""
                log.error("worker %d ended with %d; another takes its place%s", pid, code, after)
                start(next_worker)
        return 0
    finally:
        listener.close()
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        for pid in workers:
            os.waitpid(pid, 0)


@dataclass(frozen=True)
class _Worker:
    """One of those that have a seat after each other. Whatever kills them at once is not to be
    hurried, so each lets more time pass before it begins; it does so itself, as its supervisor has
    others to see to.
    """

    seat: int
    begins_at: float
    """By the steady clock."""
    pause: int = 0
    """Seconds until then, from its start."""

    def successor(self, now: float) -> _Worker:
        """The one that takes its place."""
        ended_at_once = self.lived(now) < 1
        pause = min(max(1, 2 * self.pause), _LONGEST_PAUSE) if ended_at_once else 0
        return _Worker(self.seat, now + pause, pause)

    def lived(self, now: float) -> float:
        """For how many seconds."""
        return now - self.begins_at


def _any_settled(workers: Iterable[_Worker]) -> bool:
    now = time.monotonic()
    return any(worker.lived(now) > _SECONDS_TO_SETTLE for worker in workers)


def _ended() -> Iterator[tuple[int, int]]:
    """The workers that ended, and their exit codes; one SIGCHLD may stand for many."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _fork(
    work: Callable[[], None],
    lifeline: tuple[int, int],
    worker: _Worker,
    *,
    as_json: bool,
) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        readable, held_by_supervisor = lifeline
        os.close(held_by_supervisor)
        threading.Thread(target=_end_with_supervisor, args=(readable,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        take_seat(worker.seat)
        time.sleep(worker.pause)
        work()
    except SystemExit:
        code = 0
    except KeyturnError as error:
        code = complain(error, as_json=as_json)
    except BaseException:
        log.exception("worker failed")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _end_with_supervisor(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when nobody holds the other end any more
    os.kill(os.getpid(), signal.SIGTERM)
