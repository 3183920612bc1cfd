"""A line of the log for each request. Of what was asked it has method and path, and nothing that is
secret as a rule: no query, no header, no body.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from keyturn.integrations.asgi import Answer
from keyturn.wire.client import address_of
from keyturn.wire.http import Request, Response
from keyturn.wire.security_log import one_word

from .settings import Network

__all__ = ["AccessLog"]

_LONGEST_PATH: Final = 256

_log = logging.getLogger("keyturn.access")


class AccessLog:
    """Logs what was answered, whatever else is logged.

    Args:
        answer: what answers.
        trusted_proxies: whose word on the client's address is believed.
    """

    def __init__(self, answer: Answer, trusted_proxies: Sequence[Network]) -> None:
        _log.setLevel(logging.INFO)
        self._answer = answer
        self._trusted_proxies = trusted_proxies

    async def handle(self, request: Request) -> Response:
        """Answer ``request``; of a stream the line is written as it begins."""
        began = time.perf_counter()
        response = await self._answer(request)
        seconds = time.perf_counter() - began
        _log.info(
            "answered",
            extra={
                "method": one_word(request.method[:_LONGEST_PATH]),
                "path": one_word(request.path[:_LONGEST_PATH]),
                "status": response.status,
                "seconds": round(seconds, 6),
                "address": address_of(request, self._trusted_proxies),
            },
        )
        return response
