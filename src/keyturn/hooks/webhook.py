"""A webhook, as Standard Webhooks 1.0 describes it: https://www.standardwebhooks.com"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from keyturn.core.errors import ConfigurationError, KeyturnError
from keyturn.core.model import Event
from keyturn.hosts import is_loopback
from keyturn.stores.base import Delivery

from .courier import Undeliverable

if TYPE_CHECKING:
    import httpx

__all__ = ["Webhook", "WebhookRefused", "body_of", "new_secret"]

_PREFIX: Final = "whsec_"
_SECONDS: Final = 15.0
_GONE: Final = 410
_LONGEST_ANSWER: Final = 65_536


class WebhookRefused(KeyturnError):
    """Whoever is to be told did not say that it was."""

    code = "webhook_refused"
    message = "The webhook was refused"


class Webhook:
    """A hook that posts each event to ``url``, signed. Any answer of 2xx says that it was told; 410
    that it never will be. A redirect is not followed.

    Args:
        url: https, or http on this machine.
        secrets: ``whsec_`` and the base64 of 24 to 64 random bytes. Every one signs, so that the
            receiver can go over from one to the next.
        client: makes the requests, and is not closed.
        clock: Unix time in seconds.

    Raises:
        ConfigurationError: the URL or a secret is impossible, or httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        secrets: Sequence[str],
        *,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_url(url)
        if not secrets:
            raise ConfigurationError("webhook_secret", "is missing: `keyturn webhook secret`")
        self._url = url
        _require_httpx()
        self._keys = [_key_of(secret) for secret in secrets]
        self._client = client
        self._own_client: httpx.AsyncClient | None = None
        self._clock = clock

    async def __call__(self, delivery: Delivery) -> None:
        """Raises ``WebhookRefused``, ``Undeliverable``, or what httpx raises."""
        body = body_of(delivery.event)
        async with self._connected().stream(
            "POST",
            self._url,
            content=body,
            headers=self._headers(delivery.id, int(self._clock()), body),
            timeout=_SECONDS,
            follow_redirects=False,
        ) as answer:
            await _read_some(answer)
        if answer.status_code == _GONE:
            raise Undeliverable("the answer was 410")
        if not answer.is_success:
            raise WebhookRefused(f"the answer was {answer.status_code}")

    async def aclose(self) -> None:
        """Let go of the connections that it made itself."""
        if self._own_client is not None:
            await self._own_client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        """Made when it is needed, as that takes a while. No proxy reads what is sent in the clear
        on this machine.
        """
        if self._client is None:
            import httpx

            own = httpx.AsyncClient(trust_env=self._url.startswith("https:"))
            self._client = self._own_client = own
        return self._client

    def _headers(self, delivery_id: str, now: int, body: bytes) -> dict[str, str]:
        signed = f"{delivery_id}.{now}.".encode() + body
        return {
            "Content-Type": "application/json",
            "User-Agent": "keyturn",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(f"v1,{_signature(key, signed)}" for key in self._keys),
        }


async def _read_some(answer: httpx.Response) -> None:
    """Else the connection could not be used again; but an answer could be of any size."""
    size = 0
    async for chunk in answer.aiter_raw():
        size += len(chunk)
        if size > _LONGEST_ANSWER:
            break


def body_of(event: Event) -> bytes:
    """What is posted of an event: its type, its time, and what is known of it."""
    data: dict[str, Any] = {
        "userId": event.user_id,
        "sid": event.sid,
        "reason": event.reason,
        "address": event.device.address,
        "userAgent": event.device.user_agent,
    }
    return msgspec.json.encode(
        {
            "type": event.kind,
            "timestamp": f"{datetime.fromtimestamp(event.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "data": {name: value for name, value in data.items() if value},
        }
    )


def new_secret(random: bytes) -> str:
    """The secret that 32 random bytes make."""
    return _PREFIX + b64encode(random).decode()


def _key_of(secret: str) -> bytes:
    try:
        key = b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:  # of base64, or of what is no ASCII
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ConfigurationError(
            "webhook_secret",
            f"must be {_PREFIX} and the base64 of 24 to 64 bytes: `keyturn webhook secret`",
        )
    return key


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        plain = url.isascii() and url.isprintable() and " " not in url and parts.port != 0
    except ValueError:  # of a host or a port
        plain = False
    if not plain:
        raise ConfigurationError("webhook_url", "cannot be read: percent-encode what is not plain")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise ConfigurationError("webhook_url", "must be https, or http on this machine")


def _require_httpx() -> None:
    if find_spec("httpx") is None:
        raise ConfigurationError("webhook_url", "needs httpx: install keyturn[webhook]")


def _signature(key: bytes, signed: bytes) -> str:
    return b64encode(hmac.digest(key, signed, "sha256")).decode()
