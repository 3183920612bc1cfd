"""Spans of OpenTelemetry. This needs its API alone; who collects them is whoever runs the server.

They hold nothing that is secret, and nothing that tells of a user: no token, no address, no id of a
session.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode, Tracer, TracerProvider

from keyturn._version import __version__
from keyturn.core.rotation import Verdict
from keyturn.integrations.asgi import Answer
from keyturn.observing import Observer
from keyturn.wire.http import Request, Response
from keyturn.wire.request_ids import request_id

from .logs import mask
from .places import METHODS, counted_place

__all__ = ["Spans", "Tracing", "flush", "provider_in_use"]

_LONGEST_PATH: Final = 256
_SECONDS_TO_FLUSH: Final = 2


def provider_in_use() -> TracerProvider | None:
    """That of whoever collects spans, if anybody does."""
    provider = trace.get_tracer_provider()
    nobody = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
    return None if nobody else provider


def flush(provider: TracerProvider) -> None:
    """Have what is still held back sent, as far as that does not take long: the process ends."""
    send = getattr(provider, "force_flush", None)  # of the SDK, not of the API
    if send is not None:
        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        sending.join(_SECONDS_TO_FLUSH)


class Tracing:
    """Makes a span of each request, by the semantic conventions of HTTP servers.

    Args:
        provider: of whoever collects spans.
        answer: what answers.
        scheme: by which users come.
    """

    def __init__(self, provider: TracerProvider, answer: Answer, scheme: str) -> None:
        self._tracer = _tracer_of(provider)
        self._answer = answer
        self._scheme = scheme

    async def handle(self, request: Request) -> Response:
        """Answer ``request``; of a stream the span ends as it begins."""
        with self._tracer.start_as_current_span(
            _name_of(request),
            context=propagate.extract(request, Context(), _HEADERS),
            kind=SpanKind.SERVER,
            attributes=self._asked(request),
            record_exception=False,  # it may quote what is secret
            set_status_on_exception=False,
        ) as span:
            response = await self._answer(request)
            span.set_attribute("http.response.status_code", response.status)
            if response.status >= 500:
                span.set_attribute("error.type", str(response.status))
                span.set_status(StatusCode.ERROR)
            return response

    def _asked(self, request: Request) -> Mapping[str, str]:
        route = counted_place(request.path)
        asked = {
            "http.request.method": request.method if request.method in METHODS else "_OTHER",
            "url.path": route or mask(request.path)[:_LONGEST_PATH],
            "url.scheme": self._scheme,
            "keyturn.request_id": mask(request_id()),
        }
        return asked | {"http.route": route} if route else asked


def _name_of(request: Request) -> str:
    """As the conventions have it: method and route, as far as they are known."""
    method = request.method if request.method in METHODS else "HTTP"
    return f"{method} {counted_place(request.path)}".rstrip()


class Spans(Observer):
    """Makes spans of what took time within a request. They are made when it has ended; where
    nobody collects the request's, there are none.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = _tracer_of(provider)

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        self._make("exchange", seconds, {"keyturn.verdict": verdict.value})

    def refused(self, code: str) -> None:
        trace.get_current_span().set_attribute("keyturn.code", code)

    def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
        self._make(f"store {operation}", seconds, {"keyturn.rows": rows}, failed=failed)

    def hashed(self, seconds: float, waited: float) -> None:
        self._make("hash", seconds, {"keyturn.waited": waited})

    def _make(
        self, name: str, seconds: float, attributes: Mapping[str, Any], *, failed: bool = False
    ) -> None:
        if not trace.get_current_span().is_recording():
            return
        now = time.time_ns()
        span = self._tracer.start_span(
            name, attributes=attributes, start_time=now - int(seconds * 1e9)
        )
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(now)


def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("keyturn", __version__)


class _Headers(Getter[Request]):
    def get(self, carrier: Request, key: str) -> list[str] | None:
        value = carrier.header(key.lower().encode("latin-1"))
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Request) -> Sequence[str]:  # type: ignore[override]
        return [name.decode("latin-1") for name, _ in carrier.headers]


_HEADERS: Final = _Headers()
