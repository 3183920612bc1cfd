"""Several processes of ``keyturn serve``, and one that keeps them alive.

Workers are forked, so they start at once and share the listening socket and most of their memory.
"""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from keyturn.complaints import Complaints
from keyturn.core.errors import KeyturnError, Unavailable

from .counting import forget_worker, take_seat
from .exits import DONE, FAILED, MISCONFIGURED, complain, exit_code
from .stopping import STOPS

__all__ = ["Beat", "hold_back_signals", "supervise"]

log = logging.getLogger("keyturn")

Beat: TypeAlias = Callable[[], None]
"""What a worker calls at least once a second from the loop that answers, to show that it turns."""

_SECONDS_TO_SETTLE: Final = 5
_SECONDS_OF_A_SHORT_LIFE: Final = 10
_LONGEST_PAUSE: Final = 30
_SECONDS_BETWEEN_LOOKS: Final = 2
_LOOKS_WITHOUT_A_BEAT: Final = 15
"""After as many a worker is stuck. Looks are counted and not seconds, as all stand still at once
where the machine does.
"""
_SECONDS_TO_END: Final = 15
"""A little more than a worker takes that has requests in flight and events to post."""
_AWAITED: Final = {*STOPS, signal.SIGCHLD}
_WORD: Final = 8


def hold_back_signals() -> None:
    """Before there is a thread, as one that does not hold them back would swallow them. Of children
    that end nobody is told where whoever started us wanted to hear of none.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)


def supervise(
    work: Callable[[Beat], None], listener: socket.socket, count: int, *, as_json: bool
) -> int:
    """Keep ``count`` workers alive until a signal, then let them finish. They also finish when
    their supervisor is killed.

    Returns the exit code: 0, or that of a worker which found its configuration impossible. Where
    others serve well, that is for them to go on: the database may be of a newer release by now.
    """
    team = _Team(work, count, as_json=as_json)
    try:
        team.fill_seats()
        while _told() not in STOPS:
            if team.replace_ended() == MISCONFIGURED:
                return MISCONFIGURED
            team.kill_stuck()
            team.fill_seats()
        return DONE
    finally:
        listener.close()
        team.end()


def _told() -> int | None:
    """The signal that came; none did when it was time for the next look."""
    came = signal.sigtimedwait(_AWAITED, _SECONDS_BETWEEN_LOOKS)
    return came.si_signo if came else None


@dataclass(frozen=True)
class _Worker:
    """One of those that have a seat after each other. Whatever ends them soon is not to be hurried,
    so each lets more time pass before it begins; it does so itself, as its supervisor has others
    to see to.
    """

    seat: int
    begins_at: float
    """By the steady clock."""
    pause: int = 0
    """Seconds until then, from its start."""

    def successor(self, now: float) -> _Worker:
        """The one that takes its place."""
        ended_soon = self.lived(now) < _SECONDS_OF_A_SHORT_LIFE
        pause = min(max(1, 2 * self.pause), _LONGEST_PAUSE) if ended_soon else 0
        return _Worker(self.seat, now + pause, pause)

    def born(self, now: float) -> _Worker:
        """It, once it could be forked."""
        return replace(self, begins_at=now + self.pause)

    def lived(self, now: float) -> float:
        """For how many seconds."""
        return now - self.begins_at


class _Team:
    """The workers, and who is to take a seat that is empty."""

    def __init__(self, work: Callable[[Beat], None], count: int, *, as_json: bool) -> None:
        now = time.monotonic()
        self._work = work
        self._as_json = as_json
        self._complaints = Complaints(time.monotonic)
        self._lifeline = os.pipe()
        self._workers: dict[int, _Worker] = {}
        self._to_come = [_Worker(seat, begins_at=now) for seat in range(count)]
        self._pulse = _Pulse(count)
        self._next_look = now

    def fill_seats(self) -> None:
        """As far as there is memory for it, and processes are allowed: next time there may be."""
        while self._to_come:
            worker = self._to_come[0]
            self._pulse.forget(worker.seat)
            try:
                pid = self._fork(worker)
            except OSError as error:
                short = Unavailable(f"{error.strerror}; it is tried again")
                self._complaints.report("a worker cannot be started", short)
                return
            self._workers[pid] = self._to_come.pop(0).born(time.monotonic())

    def replace_ended(self) -> int:
        """Whoever ended is to be followed. Returns the exit code of one that must not be."""
        for pid, code in _ended():
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue  # left behind by who started us, or inherited where we are the first
            forget_worker(worker.seat)
            if code == MISCONFIGURED and not self._any_settled():
                return code
            follower = worker.successor(time.monotonic())
            after = f" after {follower.pause} s" if follower.pause else ""
            log.error("worker %d ended with %d; another takes its place%s", pid, code, after)
            self._to_come.append(follower)
        return DONE

    def kill_stuck(self) -> None:
        """Those whose loop turns no more hold connections that nobody answers."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        for pid, worker in self._workers.items():
            if self._pulse.has_just_stopped(worker.seat):
                log.error("worker %d answers nobody any more, and is killed", pid)
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        """Let all finish, but not for ever."""
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _SECONDS_TO_END
        self._reap()
        while self._workers and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
            self._reap()
        for pid in self._workers:
            log.error("worker %d did not end, and is killed", pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _reap(self) -> None:
        for pid, _ in _ended():
            self._workers.pop(pid, None)

    def _any_settled(self) -> bool:
        now = time.monotonic()
        return any(worker.lived(now) > _SECONDS_TO_SETTLE for worker in self._workers.values())

    def _fork(self, worker: _Worker) -> int:
        if pid := os.fork():
            return pid
        code = FAILED
        try:
            readable, held_by_supervisor = self._lifeline
            os.close(held_by_supervisor)
            threading.Thread(target=_end_with_supervisor, args=(readable,), daemon=True).start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            take_seat(worker.seat)
            time.sleep(worker.pause)
            self._work(self._pulse.of(worker.seat))
        except SystemExit:
            code = DONE
        except KeyturnError as error:
            code = exit_code(error)
            complain(error, as_json=self._as_json)
        except BaseException:
            log.exception("worker failed")
        finally:
            try:
                sys.stderr.flush()
            finally:  # else what cannot be written leads on into what only the supervisor may do
                os._exit(code)


class _Pulse:
    """Who counts on, in memory that all have in common, and who has ceased to."""

    def __init__(self, count: int) -> None:
        self._beats = memoryview(mmap.mmap(-1, count * _WORD)).cast("Q")
        self._seen = [0] * count
        self._looks = [0] * count

    def of(self, seat: int) -> Beat:
        """What the worker in that seat calls."""

        def beat() -> None:
            self._beats[seat] += 1

        return beat

    def forget(self, seat: int) -> None:
        """Somebody else is about to sit there."""
        self._beats[seat] = 0

    def has_just_stopped(self, seat: int) -> bool:
        """Whether it has not counted on for so many looks; who has not begun may take longer."""
        beats = self._beats[seat]
        self._looks[seat] = self._looks[seat] + 1 if beats and beats == self._seen[seat] else 0
        self._seen[seat] = beats
        return self._looks[seat] == _LOOKS_WITHOUT_A_BEAT


def _ended() -> Iterator[tuple[int, int]]:
    """The children that ended, and their exit codes; one SIGCHLD may stand for many."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _end_with_supervisor(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when nobody holds the other end any more
    os.kill(os.getpid(), signal.SIGTERM)
