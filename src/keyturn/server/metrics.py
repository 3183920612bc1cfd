"""``/metrics`` for Prometheus, over all workers: each writes its figures into files of a common
folder, and whichever is asked adds them up. Imported by workers alone: the files are theirs.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from keyturn.integrations.asgi import Answer
from keyturn.sessions import Sessions
from keyturn.wire import headers
from keyturn.wire.http import Header, Request, Response
from keyturn.wire.routes import ROUTES, SESSION_PATH

from .counting import COMMON_FOLDER

__all__ = ["METRICS_PATH", "Metrics"]

METRICS_PATH: Final = "/metrics"

_SECONDS_BETWEEN_LOOKS: Final = 1
_OTHER: Final = "other"
_PATHS: Final = {route.path for route in ROUTES}
_UPPER_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_registry: Final = CollectorRegistry()
_requests: Final = Counter(
    "keyturn_requests",
    "Requests that were answered.",
    ["method", "path", "status"],
    registry=_registry,
)
_seconds: Final = Histogram(
    "keyturn_request_seconds",
    "Seconds until a request was answered.",
    ["path"],
    buckets=_UPPER_BOUNDS,
    registry=_registry,
)
_known_at: Final = Gauge(
    "keyturn_revocations_known_timestamp_seconds",
    "When every revocation was last known, of the worker that is worst off; time() less this is"
    " how stale it is.",
    multiprocess_mode="livemin",
    registry=_registry,
)


class Metrics:
    """Answers ``/metrics`` to those who present the token, and counts what others ask.

    Args:
        token: to be presented as a bearer. To whoever presents another there is nothing there.
        answer: what answers everything else.
        sessions: how stale they are is told.
        standing: headers of every answer.
    """

    def __init__(
        self, token: str, answer: Answer, sessions: Sessions, standing: Sequence[Header]
    ) -> None:
        self._standing = standing
        self._credentials = b"Bearer " + token.encode()
        self._answer = answer
        self._sessions = sessions

    async def handle(self, request: Request) -> Response:
        """Answer ``request``."""
        if request.path == METRICS_PATH and self._may_see(request):
            return self._figures(request)
        began = time.perf_counter()
        response = await self._answer(request)
        path = _place(request.path)
        _seconds.labels(path).observe(time.perf_counter() - began)
        _requests.labels(_method(request.method), path, response.status).inc()
        return response

    def _may_see(self, request: Request) -> bool:
        credentials = request.header(b"authorization") or b""
        is_asked = request.method in {"GET", "HEAD"}
        return hmac.compare_digest(credentials, self._credentials) and is_asked

    def _figures(self, request: Request) -> Response:
        registry = _registry
        if COMMON_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        body = generate_latest(registry)
        length = (b"content-length", b"%d" % len(body))
        kind = (b"content-type", CONTENT_TYPE_LATEST.encode())
        return Response(
            200,
            [kind, length, headers.NO_STORE, *self._standing],
            b"" if request.method == "HEAD" else body,
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Within, staleness is looked at every second."""
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def look(self) -> None:
        """Write down when every revocation was last known."""
        _known_at.set(max(0, time.time() - self._sessions.staleness))


def _place(path: str) -> str:
    """A few names for whatever strangers ask for."""
    if path in _PATHS:
        return path
    return SESSION_PATH if path.startswith(SESSION_PATH.partition("{")[0]) else _OTHER


def _method(method: str) -> str:
    return method if method in {"GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"} else _OTHER
