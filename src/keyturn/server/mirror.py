"""``/doctor``: tells the doctor how its request arrived, by whichever way it came. For those who
have the server's secret; to everybody else there is nothing there.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyturn._version import __version__
from keyturn.core import base64url
from keyturn.integrations.asgi import Answer
from keyturn.wire import headers
from keyturn.wire.answers import document
from keyturn.wire.client import address_of
from keyturn.wire.http import Header, Request, Response
from keyturn.wire.settings import WireSettings

__all__ = ["MIRROR_PATH", "Mirror", "Reflection", "doctor_token"]

MIRROR_PATH: Final = "/doctor"


class Reflection(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request as the server saw it."""

    release: str
    """Of the server."""
    now: float
    """By its clock: Unix time in seconds."""
    peer: str
    """The other end of the connection: as a rule a proxy."""
    address: str
    """Whose request it is taken for."""
    forwarded_for: str
    """As it arrived; empty where nothing did."""


def doctor_token(secret: bytes) -> str:
    """What the doctor presents. It tells nothing of the secret, and is good for nothing else."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"keyturn doctor token v1")
    return base64url.encode(derived.derive(secret))


class Mirror:
    """Answers ``/doctor`` to those who have a secret of the server's.

    Args:
        secrets: of the server; any of them will do.
        answer: what answers everything else.
        settings: whose requests are believed to be passed on.
    """

    def __init__(self, secrets: Iterable[bytes], answer: Answer, settings: WireSettings) -> None:
        self._credentials = [b"Bearer " + doctor_token(secret).encode() for secret in secrets]
        self._answer = answer
        self._trusted_proxies = settings.trusted_proxies
        self._standing: Sequence[Header] = headers.standing(settings)

    def handle(self, request: Request) -> Awaitable[Response]:
        """Answer ``request``."""
        if request.path == MIRROR_PATH and self._is_of_doctor(request):
            return self._reflection(request)
        return self._answer(request)

    def _is_of_doctor(self, request: Request) -> bool:
        presented = request.header(b"authorization") or b""
        known = [hmac.compare_digest(presented, each) for each in self._credentials]
        return request.method == "GET" and any(known)

    async def _reflection(self, request: Request) -> Response:
        reflection = Reflection(
            release=__version__,
            now=time.time(),
            peer=request.client,
            address=address_of(request, self._trusted_proxies),
            forwarded_for=(request.header(b"x-forwarded-for") or b"").decode("latin-1"),
        )
        answer = document(reflection)
        length = (b"content-length", b"%d" % len(answer.body))
        return Response(
            200, [*answer.headers, length, headers.NO_STORE, *self._standing], answer.body
        )
