"""Who looks at a server at work: Prometheus, a trace, a log of requests; each as far as wanted."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from keyturn.accounts import PasswordHashing
from keyturn.integrations.asgi import Answer
from keyturn.observing import Observer, Observers
from keyturn.sessions import Sessions
from keyturn.wire import headers
from keyturn.wire.settings import WireSettings

from .access_log import AccessLog
from .databases import file_of
from .settings import Settings

__all__ = ["Watch"]

log = logging.getLogger("keyturn")


class Watch:
    """What is watched of one process. Libraries that nobody asked for are never loaded.

    Args:
        settings: who wants to know.
        hooks: names of those that there are.
    """

    def __init__(self, settings: Settings, hooks: Iterable[str]) -> None:
        self._settings = settings
        self._provider = None
        observers: list[Observer] = []
        if settings.metrics_token:
            from .figures import Figures, show_start

            show_start("postgresql" if file_of(settings) is None else "sqlite")
            observers.append(Figures(hooks))
        if "opentelemetry.trace" in sys.modules:  # loaded by whoever collects spans
            from .tracing import Spans, provider_in_use

            self._provider = provider_in_use()
            if self._provider is not None:
                observers.append(Spans(self._provider))
        self.observer = Observers(*observers) if observers else None
        """To be told of what is done; none if nobody wants to know."""

    @asynccontextmanager
    async def over(
        self,
        answer: Answer,
        sessions: Sessions,
        hashing: PasswordHashing,
        wire_settings: WireSettings,
    ) -> AsyncIterator[Answer]:
        """What answers in the place of ``answer``, so that requests are seen."""
        async with AsyncExitStack() as stack:
            if self._settings.metrics_token:
                from .metrics import Metrics

                metrics = Metrics(
                    self._settings.metrics_token,
                    answer,
                    sessions=sessions,
                    hashing=hashing,
                    standing=headers.standing(wire_settings),
                )
                await stack.enter_async_context(metrics.watching())
                answer = metrics.handle
            yield self._traced(self._logged(answer), wire_settings)

    def conclude(self) -> None:
        """Hand on what was seen last. To be called once nothing happens any more."""
        if self._provider is not None:
            from .tracing import flush

            flush(self._provider)
        if self._settings.metrics_token:
            from .figures import write_down

            try:
                write_down()
            except Exception:  # as in a look: all else went well
                log.exception("figures were not written down")

    def _logged(self, answer: Answer) -> Answer:
        if not self._settings.access_log:
            return answer
        return AccessLog(answer, self._settings.trusted_proxies).handle

    def _traced(self, answer: Answer, wire_settings: WireSettings) -> Answer:
        if self._provider is None:
            return answer
        from .tracing import Tracing

        return Tracing(self._provider, answer, "https" if wire_settings.https else "http").handle
