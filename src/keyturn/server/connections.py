"""Connections of strangers: how much they may send, how long they may take, how many there may be.

uvicorn's parser keeps whatever comes until a header ends, and waits for it for ever. What is over a
limit is answered in plain text, like all that the parser refuses, and the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from keyturn.complaints import Complaints
from keyturn.core.errors import Unavailable
from keyturn.integrations.asgi import App, send_response
from keyturn.wire.http import Header

__all__ = ["SECONDS_IDLE", "Connection", "raise_file_limit"]

SECONDS_IDLE: Final = 75
"""Longer than proxies keep idle connections, so that it is they who close them."""
_OTHER_FILES: Final = 100
_FRAMING: Final = {b"content-length", b"transfer-encoding"}
"""What tells that a request has a body. Of one that asks for another protocol the parser reads
none: a proxy would send it all the same, and it would be taken for the next request, which may be
another user's (request smuggling). So such a request is refused where it has a body, and is the
last of its connection where it has none.
"""

log = logging.getLogger("keyturn")

_complaints: Final = Complaints(time.monotonic)


class _Full(Unavailable):
    message = "as many are open as one worker may have"


class Connection(HttpToolsProtocol):
    """A connection that ends when its client sends too much, or too slowly."""

    most_beyond_body: ClassVar[int] = 64 * 1024
    """Bytes of a request that are not its body: request line, headers, what frames chunks,
    trailers. More than the wire takes, as it is the wire's answer that says what is wrong.
    """
    seconds_for_headers: ClassVar[float] = 20
    """From the opening of the connection, or the first byte of a further request."""
    seconds_for_body: ClassVar[float] = 30
    seconds_to_take_answers: ClassVar[float] = 30
    """Once the client has left more of them unread than buffers hold."""
    most_pipelined: ClassVar[int] = 16
    """Requests that wait for the answer of the one before them."""
    most_connections: ClassVar[int] = 4096
    """Of one process."""
    open_now: ClassVar[int] = 0
    """How many of them there are."""
    turned_away: ClassVar[int] = 0
    """How many there were for which there was no room."""

    _beyond_body = 0
    _in_request = False
    _in_body = False
    _idle_since = 0.0
    _asking: asyncio.TimerHandle | None = None
    """Runs while it is the client's turn to send."""
    _taking: asyncio.TimerHandle | None = None
    """Runs while it is the client's turn to read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        Connection.open_now += 1
        if len(self.connections) > self.most_connections:
            Connection.turned_away += 1
            _complaints.report("no further connection is taken", _Full())
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, b"Retry-After: 1\r\n")
        else:
            self._expect(self.seconds_for_headers)

    def connection_lost(self, exc: Exception | None) -> None:
        Connection.open_now -= 1
        self._expect(None)
        super()._unset_keepalive_if_required()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._beyond_body += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._beyond_body > self.most_beyond_body:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._asking is None:  # of a request that came as a whole, nothing is due
            if self._in_body:
                self._expect(self.seconds_for_body)
            elif self._client_is_to_send():
                self._expect(self.seconds_for_headers)

    def _client_is_to_send(self) -> bool:
        before_first = self.cycle is None
        return self._in_request or before_first or self.cycle.response_complete

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= self.most_pipelined:
            raise ValueError("too many requests at once")  # which the parser makes a refusal
        self._in_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._expect(None)
        self._in_body = True
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            return
        if not _FRAMING.isdisjoint(name for name, _ in self.headers):
            raise ValueError("a body behind an upgrade")  # which the parser makes a refusal
        super().on_headers_complete()
        self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not isinstance(app, App):
            super()._start_asgi_task(cycle, app)
            return
        task = self.loop.create_task(_serve(cycle, app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        self._beyond_body -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expect(None)
        self._in_request = self._in_body = False
        self._beyond_body = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self.loop.call_later(self.seconds_to_take_answers, self.transport.abort)

    def resume_writing(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_if_idle_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        """The timer runs on: to stop it and start another costs each request more than a look at
        the clock costs the connection every other minute.
        """

    def _look_if_idle_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._in_request or not self.cycle.response_complete:
            return  # the end of the answer starts it again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_if_idle_in(left)
        else:
            self.transport.abort()  # to close it would be to wait until the client has read it all

    def _expect(self, seconds: float | None) -> None:
        """Give the client so long for what it has to send next; None: nothing is due."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = None
        if seconds is not None:
            self._asking = self.loop.call_later(seconds, self.transport.abort)

    def _refuse(self, status: HTTPStatus, header: bytes = b"") -> None:
        self._expect(None)
        text = status.phrase.encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
            b"%bConnection: close\r\n\r\n%b" % (status, text, len(text), header, text)
        )
        self.transport.close()


# ── requests and answers that are there as a whole ──────────────────────────────────────────────


async def _serve(cycle: RequestResponseCycle, app: App) -> None:
    """Without the messages of ASGI, which cost as much as what they carry, where both the request
    and its answer are there as a whole; with them where either comes piece by piece.
    """
    if cycle.more_body or cycle.waiting_for_100_continue:
        await cycle.run_asgi(app)  # type: ignore[arg-type]
        return
    try:
        await _answer(cycle, app)
    except asyncio.CancelledError:  # the server stops, and waits no longer
        _write(cycle, _FAILURE_HEAD, b"")
        raise
    except Exception:
        log.exception("an answer was not sent")
        cycle.transport.abort()
    finally:
        cycle.on_response = _nothing  # else it and its connection would keep each other


async def _answer(cycle: RequestResponseCycle, app: App) -> None:
    try:
        response = await app.respond(cycle.scope, bytes(cycle.body))
        head = _head(response.status, [*cycle.default_headers, *response.headers])
    except Exception:  # what answers requests does not raise, so this is nobody's fault but ours
        log.exception("a request was not answered")
        _write(cycle, _FAILURE_HEAD, b"")
        return
    if response.stream is not None or cycle.flow.write_paused:
        await send_response(response, cycle.receive, cycle.send)  # type: ignore[arg-type]
    else:
        _write(cycle, head, response.body)


def _nothing() -> None:
    pass


def _write(cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
    """Write the answer, unless there is one, or nobody to read it."""
    if cycle.response_started or cycle.disconnected or cycle.transport.is_closing():
        return
    if cycle.scope["method"] == "HEAD":
        body = b""
    closing = b"" if cycle.keep_alive else b"connection: close\r\n"
    cycle.transport.write(b"%b%b\r\n%b" % (head, closing, body))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def _head(status: int, headers: list[Header]) -> bytes:
    """Raises ValueError if a header would begin another."""
    head = STATUS_LINE[status] + b"\r\n".join(map(b": ".join, headers)) + b"\r\n"
    if not head.count(b"\n") == head.count(b"\r") == 1 + len(headers):
        raise ValueError("a header with a line break")
    return head


_FAILURE_HEAD: Final = _head(503, [(b"content-length", b"0"), (b"retry-after", b"1")])


def raise_file_limit() -> None:
    """Let this process hold as many open files as its connections need, as far as it may."""
    wanted = Connection.most_connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
