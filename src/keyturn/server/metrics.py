"""``/metrics`` for Prometheus, over all workers: each writes its figures where all can read them,
and whichever is asked adds them up. Imported by workers alone, once they have their seats.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from keyturn.accounts import PasswordHashing
from keyturn.integrations.asgi import Answer
from keyturn.sessions import Sessions
from keyturn.wire import headers
from keyturn.wire.http import Header, Request, Response

from .connections import Connection
from .figures import count_request, count_turned_away, show_state, told, write_down
from .places import METHODS, counted_place

__all__ = ["METRICS_PATH", "Metrics"]

METRICS_PATH: Final = "/metrics"

log = logging.getLogger("keyturn")

_SECONDS_BETWEEN_LOOKS: Final = 1
_OTHER: Final = "other"


class Metrics:
    """Answers ``/metrics`` to those who present the token, and counts what others ask.

    Args:
        token: to be presented as a bearer. To whoever presents another there is nothing there.
        answer: what answers everything else.
        sessions: how they stand is told.
        hashing: how much waits for it is told.
        standing: headers of every answer.
    """

    def __init__(
        self,
        token: str,
        answer: Answer,
        *,
        sessions: Sessions,
        hashing: PasswordHashing,
        standing: Sequence[Header],
    ) -> None:
        self._standing = standing
        self._credentials = b"Bearer " + token.encode()
        self._answer = answer
        self._sessions = sessions
        self._hashing = hashing
        self._told_turned_away = 0

    async def handle(self, request: Request) -> Response:
        """Answer ``request``."""
        if request.path == METRICS_PATH and self._may_see(request):
            return await self._figures(request)
        began = time.perf_counter()
        response = await self._answer(request)
        method = request.method if request.method in METHODS else _OTHER
        path = counted_place(request.path) or _OTHER
        count_request(method, path, response.status, time.perf_counter() - began)
        return response

    def _may_see(self, request: Request) -> bool:
        credentials = request.header(b"authorization") or b""
        is_asked = request.method in {"GET", "HEAD"}
        return hmac.compare_digest(credentials, self._credentials) and is_asked

    async def _figures(self, request: Request) -> Response:
        self.look()
        body = await asyncio.to_thread(told)  # it takes a while, in which others are answered
        length = (b"content-length", b"%d" % len(body))
        kind = (b"content-type", CONTENT_TYPE_LATEST.encode())
        return Response(
            200,
            [kind, length, headers.NO_STORE, *self._standing],
            b"" if request.method == "HEAD" else body,
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Within, it is looked every second at how things stand, and what happened is written down:
        what other workers tell of this one is no older.
        """
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # whatever it was, the next look may go well
                log.exception("figures were not written down")
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def look(self) -> None:
        """Write down what happened, and how things stand."""
        write_down()
        count_turned_away(Connection.turned_away - self._told_turned_away)
        self._told_turned_away = Connection.turned_away
        show_state(
            known_at=max(0, time.time() - self._sessions.staleness),
            cutoffs=self._sessions.known_cutoffs,
            hashes_waiting=self._hashing.waiting,
            hashes_running=self._hashing.running,
            followers=self._sessions.feed.followers,
            connections=Connection.open_now,
        )
