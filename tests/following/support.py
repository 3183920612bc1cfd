"""What tests of followers need: an issuer that does as it is told, and keys that it signs with."""

from __future__ import annotations

import functools
import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from keyturn import AccessToken, Claims, Verifier
from keyturn.core import access_token
from keyturn.core.keyring import Keyring, SigningKey, generate
from keyturn.core.model import ALL_VERSIONS
from keyturn.feed import FeedEvent
from keyturn.wire.event_stream import written
from tests.support import ISSUER, START, Clock

FEED_TOKEN: Final = "a-token-of-the-services-that-follow"
METADATA: Final = "/.well-known/oauth-authorization-server"
JWKS: Final = "/.well-known/jwks.json"
FEED: Final = "/revocations"
SID: Final = "AAAAAAAAAAAAAAAAAAAAAA"


@functools.cache
def a_key(number: int = 0, algorithm: str = "ES256") -> SigningKey:
    del number
    return generate(algorithm, created_at=0, use_from=0)


def token(key: SigningKey | None = None, *, audience: str = ISSUER, **changes: Any) -> str:
    """A good access token of Ada's, but for the changes."""
    said: dict[str, Any] = {
        "user_id": "ada",
        "sid": SID,
        "version": 7,
        "issued_at": START - 10,
        "expires_at": START + 600,
        "auth_time": START - 100,
        "token_id": "AAAAAAAAAAAAAAAA",
        "claims": Claims(username="ada", extra={"tenant": 7}),
    }
    return access_token.mint(key or a_key(), ISSUER, audience, AccessToken(**said | changes))


class Issuer:
    """Answers whoever asks as it is told to, and remembers what it was asked."""

    def __init__(self, *keys: SigningKey) -> None:
        self.jwks = jwks(*keys or [a_key()])
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "jwks_uri": ISSUER + JWKS,
            "revocations_uri": ISSUER + FEED,
        }
        self.caching = "public, max-age=300"
        self.asked: list[str] = []
        self.places: list[str | None] = []
        self.statuses: dict[str, int] = {}
        """Other than 200, by path."""
        self.faults: dict[str, Exception] = {}
        """Raised instead of an answer, by path."""
        self._events: queue.Queue[bytes | Exception | None] = queue.Queue()

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.faults:
            raise self.faults[path]
        if path in self.statuses:
            return httpx.Response(self.statuses[path])
        if path == JWKS:
            caching = {"cache-control": self.caching}
            return httpx.Response(200, content=self.jwks, headers=caching)
        if path == FEED:
            return self._follow(request)
        return httpx.Response(200, json=self.metadata)

    def _follow(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != f"Bearer {FEED_TOKEN}":
            return httpx.Response(401)
        self.places.append(request.headers.get("last-event-id"))
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=self._told())

    def _told(self) -> Iterator[bytes]:
        while (chunk := self._events.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def count(self, path: str) -> int:
        return self.asked.count(path)

    # ── the feed ────────────────────────────────────────────────────────────────────────────────

    def tell(self, name: str, data: Any, place: str = "") -> None:
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        self._events.put(written(FeedEvent(name, content, place)))

    def tell_keys(self, *keys: SigningKey) -> None:
        self.tell("keys", jwks(*keys))

    def tell_end(self, sid: str = SID, version: int = ALL_VERSIONS) -> None:
        self.tell(
            "cutoffs", {"cutoffs": [{"sid": sid, "version": version, "expiresAt": START + 720}]}
        )

    def tell_alive(self, place: str = "a-1", *, staleness: float = 0) -> None:
        self.tell("alive", {"staleness": staleness}, place)

    def tell_all(self, *keys: SigningKey) -> None:
        """What a new follower is told, where nothing is revoked."""
        self.tell_keys(*keys or [a_key()])
        self.tell_alive()

    def cut(self, fault: Exception | None = None) -> None:
        """End the feed, properly or not."""
        self._events.put(fault)


def jwks(*keys: SigningKey) -> bytes:
    return Keyring(keys).jwks()


@contextmanager
def following(issuer: Issuer, clock: Clock, **options: Any) -> Iterator[Verifier]:
    """A verifier that has learnt all that the issuer tells at first."""
    verifier = make(issuer, clock, **options)
    try:
        verifier.start()
        yield verifier
    finally:
        issuer.cut()  # as nothing else wakes who listens here
        verifier.close()


def make(issuer: Issuer, clock: Clock, **options: Any) -> Verifier:
    """A verifier that asks nobody yet."""
    return Verifier(ISSUER, clock=clock, steady_clock=clock, new_client=issuer.client, **options)
