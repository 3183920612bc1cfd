"""One request after the other, and what was said to each: for what is no matter of speed."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from .contenders.model import Ask

__all__ = ["Answer", "Connection", "connected"]

_PATIENCE: Final = 30
"""Seconds after which no answer is to be expected."""


class Answer(msgspec.Struct, frozen=True):
    """Of a contender."""

    granted: bool
    token: str
    """Which the asker holds from now on: what was handed out, else what was presented."""


class Connection:
    """To a contender. One request at a time."""

    def __init__(self, connection: http.client.HTTPConnection, port: int) -> None:
        self._connection = connection
        self._port = port

    def ask(self, ask: Ask, token: str) -> Answer:
        """Ask with this token."""

        def filled(text: str) -> str:
            return text.replace("{token}", token).replace("{port}", str(self._port))

        headers = dict(filled(line).split(": ", 1) for line in ask.headers)
        body = filled(ask.body) or None
        self._connection.request(ask.method, filled(ask.path), body, headers)
        response = self._connection.getresponse()
        return judged(ask, token, response.status, response.read().decode())


def judged(ask: Ask, token: str, status: int, body: str) -> Answer:
    """What an answer means to whoever presented the token."""
    granted = status // 100 == 2 and (not ask.refused_with or body != ask.refused_with)
    if ask.done_with is not None:
        granted = status == ask.done_with
    if not (granted and ask.next_after):
        return Answer(granted, token)
    _, marker, rest = body.partition(ask.next_after)
    return Answer(True, rest.partition('"')[0]) if marker else Answer(False, token)


@contextmanager
def connected(port: int) -> Iterator[Connection]:
    """Within, there is a connection to the server on the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    connection.connect()
    try:
        yield Connection(connection, port)
    finally:
        connection.close()
