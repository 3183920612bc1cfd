"""What ``keyturn serve`` does: it answers, in one process or in several."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import Final

import uvicorn
import uvloop

from keyturn.integrations.asgi import App

from .assembly import application, prepare
from .connections import SECONDS_IDLE, Connection, raise_file_limit
from .counting import count_together
from .exits import DONE, FAILED
from .settings import Settings, unknown_proxy
from .stopping import STOPS, end_when_told, unless_stopped
from .supervising import Beat, hold_back_signals, supervise

__all__ = ["listen", "serve"]

log = logging.getLogger("keyturn")

_SECONDS_TO_FINISH: Final = 8
"""For requests in flight when a stop is asked for; containers are given ten as a rule."""
_SECONDS_BETWEEN_BEATS: Final = 1
_BACKLOG: Final = 2048
_M_MMAP_THRESHOLD: Final = -3  # as malloc.h has it
_LARGE_BLOCK: Final = 1 << 20


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
        hold_back_signals()
    asyncio.run(unless_stopped(prepare(settings, create=False)))
    if advice := unknown_proxy(settings):
        log.warning(advice)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _say(json.dumps({"url": url}) if as_json else f"Keyturn listens on {url}")
    count_together(settings, workers)
    work = partial(_work, settings, listener)
    try:
        if workers > 1:
            return supervise(work, listener, workers, as_json=as_json)
        work()
    except OSError:  # no file of ours, which would be of no use next time either
        log.exception("the server failed")
        return FAILED
    return DONE


def _say(line: str) -> None:
    """Where nobody reads, or the disk of the log is full, users are kept signed in all the same."""
    try:
        print(line, flush=True)  # noqa: T201
    except OSError as error:
        log.warning("standard output cannot be written: %s", error.strerror)
        sys.stdout = None  # else it is tried again at the end


def _work(settings: Settings, listener: socket.socket, beat: Beat | None = None) -> None:
    _give_memory_back()
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_answer(settings, listener, beat))


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


async def _answer(settings: Settings, listener: socket.socket, beat: Beat | None) -> None:
    async with AsyncExitStack() as stack:
        app = await unless_stopped(stack.enter_async_context(application(settings)))
        if beat is not None:
            beating = asyncio.create_task(_beat_for_ever(beat))
            stack.callback(beating.cancel)
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


async def _beat_for_ever(beat: Beat) -> None:
    """Not by uvicorn, which goes by a clock that somebody may set back."""
    while True:
        beat()
        await asyncio.sleep(_SECONDS_BETWEEN_BEATS)
