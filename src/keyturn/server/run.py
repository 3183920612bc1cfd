"""The processes of ``keyturn serve``: one that serves, or several and one that keeps them alive.

Workers are forked, so they start at once and share the listening socket and most of their memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import uvicorn
import uvloop

from keyturn.core.errors import KeyturnError
from keyturn.integrations.asgi import App

from .assembly import application, prepare
from .connections import SECONDS_IDLE, Connection, raise_file_limit
from .counting import count_together, forget_worker, take_seat
from .exits import MISCONFIGURED, complain
from .settings import Settings, unknown_proxy
from .stopping import STOPS, end_when_told, unless_stopped

__all__ = ["listen", "serve"]

log = logging.getLogger("keyturn")

_SECONDS_TO_FINISH: Final = 8
"""For requests in flight when a stop is asked for; containers are given ten as a rule."""
_SECONDS_TO_SETTLE: Final = 5
_LONGEST_PAUSE: Final = 30
_BACKLOG: Final = 2048
_M_MMAP_THRESHOLD: Final = -3  # as malloc.h has it
_LARGE_BLOCK: Final = 1 << 20
_AWAITED: Final = {*STOPS, signal.SIGCHLD}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one.

    Raises:
        OSError: the address is not ours, or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def serve(
    settings: Settings, listener: socket.socket, workers: int, *, as_json: bool = False
) -> int:
    """Answer requests until SIGTERM, SIGINT or SIGHUP; then stop listening and finish what is in
    flight. Where it listens is printed, and what ends a worker: ``as_json`` for programs.

    Returns the exit code.

    Raises:
        ConfigurationError: a setting or a secret is impossible, or the database cannot be used.
        StoreUnavailable: the database does not answer.
        SystemExit: after the signal.
    """
    end_when_told()
    if workers > 1:
        # Before there is a thread, as one that does not hold them back would swallow them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    asyncio.run(unless_stopped(prepare(settings, create=False)))
    if advice := unknown_proxy(settings):
        log.warning(advice)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(json.dumps({"url": url}) if as_json else f"Keyturn listens on {url}", flush=True)  # noqa: T201
    count_together(settings, workers)
    if workers > 1:
        return _supervise(settings, listener, workers, as_json=as_json)
    _work(settings, listener)
    return 0


def _work(settings: Settings, listener: socket.socket) -> None:
    _give_memory_back()
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_answer(settings, listener))


def _give_memory_back() -> None:
    """Else glibc keeps the 19 MiB of a password's hash for each thread that ever made one: a large
    block that is freed once teaches it to hold on to the next.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def _collect_rarely() -> None:
    """What a request leaves is freed as it goes, so there are few cycles to be looked for."""
    gc.set_threshold(10_000, 20, 20)


class _Server(uvicorn.Server):
    """Ends by every stop, and lets followers go as soon as it does: it would wait for them to the
    last.
    """

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.end_streams()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            for stop in STOPS:  # not all of them are known to it
                signal.signal(stop, self.handle_exit)
            yield
            end_when_told()


async def _answer(settings: Settings, listener: socket.socket) -> None:
    async with AsyncExitStack() as stack:
        app = await unless_stopped(stack.enter_async_context(application(settings)))
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=SECONDS_IDLE,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
        _collect_rarely()
        await _Server(config, app).serve(sockets=[listener])


# ── several processes ───────────────────────────────────────────────────────────────────────────


def _supervise(settings: Settings, listener: socket.socket, count: int, *, as_json: bool) -> int:
    """Keep ``count`` workers alive until a signal, then let them finish. They also finish when
    their supervisor is killed.

    Returns the exit code: 0, or that of a worker which found its configuration impossible. Where
    others serve well, that is for them to go on: the database may be of a newer release by now.
    """
    lifeline = os.pipe()
    workers: dict[int, _Worker] = {}

    def start(worker: _Worker) -> None:
        workers[_fork(settings, listener, lifeline, worker, as_json=as_json)] = worker

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
    settings: Settings,
    listener: socket.socket,
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
        _work(settings, listener)
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
