"""An issuer over HTTP: its metadata, its keys, its feed. Needs the extra ``keyturn[verifier]``."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from keyturn.core.errors import ConfigurationError, Unavailable
from keyturn.core.keyring import JWKS_MAX_AGE
from keyturn.feed import ALIVE_SECONDS
from keyturn.hosts import is_loopback
from keyturn.jwks import read_jwks

from .knowledge import Keys

if TYPE_CHECKING:
    import httpx
    from httpx_sse import ServerSentEvent

__all__ = ["Issuer", "Metadata", "check_url"]

_WELL_KNOWN: Final = "/.well-known/oauth-authorization-server"
_SECONDS_TO_ANSWER: Final = 5
_SECONDS_OF_SILENCE: Final = 3 * ALIVE_SECONDS
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[^\s:/?#@\[\]]+)(:[0-9]+)?(/[^\s?#]*)?"
)
_MAX_AGE: Final = re.compile(r"(?:^|[ ,])max-age=([0-9]{1,9})")
_LEAST_MAX_AGE: Final = 10


class Metadata(msgspec.Struct, frozen=True):
    """Where an issuer's keys are, and its feed if it has one (RFC 8414, section 2)."""

    issuer: str
    jwks_uri: str
    revocations_uri: str = ""


class Issuer:
    """Asks an issuer. Never follows a redirection.

    Args:
        address: of the issuer, as access tokens have it in ``iss``.
        new_client: makes the HTTP client, if not a plain one.

    Raises:
        ConfigurationError: httpx is not installed.
    """

    def __init__(self, address: str, new_client: Callable[[], httpx.Client] | None = None) -> None:
        try:
            import httpx
            import httpx_sse
        except ImportError:
            raise ConfigurationError("Verifier", "needs httpx: install keyturn[verifier]") from None
        self._address = address
        self._failures = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
        self._client = httpx.Client() if new_client is None else new_client()
        patience = httpx.Timeout(_SECONDS_TO_ANSWER, read=_SECONDS_OF_SILENCE)
        self._connect = partial(
            httpx_sse.connect_sse, self._client, "GET", timeout=patience, follow_redirects=False
        )
        self._listening: socket.socket | None = None

    def metadata(self) -> Metadata:
        """What the issuer tells of itself, at the place of RFC 8414, section 3, or below its own
        address, if nothing is there: where it is a part of another application.

        Raises:
            ConfigurationError: another issuer is there, or secrets would travel in the clear.
            Unavailable: it does not answer as it should.
        """
        parts = urlsplit(self._address)
        path = parts.path.rstrip("/")
        origin = f"{parts.scheme}://{parts.netloc}"
        answer = self._ask(f"{origin}{_WELL_KNOWN}{path}")
        if answer.status_code == 404 and path:
            answer = self._ask(f"{origin}{path}{_WELL_KNOWN}")
        _require_success(answer)
        try:
            metadata = msgspec.json.decode(answer.content, type=Metadata)
        except ValueError:
            raise Unavailable(f"{answer.url} holds no metadata of an issuer") from None
        if metadata.issuer != self._address:
            raise ConfigurationError("issuer", f"{answer.url} is of the issuer {metadata.issuer}")
        for named in filter(None, (metadata.jwks_uri, metadata.revocations_uri)):
            check_url("issuer", named)
        return metadata

    def keys(self, jwks_uri: str) -> tuple[Keys, int]:
        """The keys, and for how many seconds they may be kept.

        Raises:
            Unavailable: the issuer does not answer as it should.
        """
        answer = self._ask(jwks_uri)
        _require_success(answer)
        try:
            keys = read_jwks(answer.content)
        except ValueError as error:
            raise Unavailable(f"{jwks_uri}: {error}") from None
        max_age = _MAX_AGE.search(answer.headers.get("cache-control", ""))
        return keys, max(_LEAST_MAX_AGE, int(max_age[1]) if max_age else JWKS_MAX_AGE)

    def events(self, uri: str, token: str, place: str) -> Generator[ServerSentEvent, None, None]:
        """What the feed tells from ``place`` on, until it ends or is interrupted.

        Raises:
            ConfigurationError: the token is refused.
            Unavailable: the issuer does not answer as it should, or fell silent.
        """
        headers = {"authorization": f"Bearer {token}"} | ({"last-event-id": place} if place else {})
        with self._reaching(uri), self._connect(uri, headers=headers) as source:
            if source.response.status_code == 401:
                raise ConfigurationError("feed_token", f"is refused by {uri}")
            _require_success(source.response)
            self._listening = _socket_of(source.response)
            try:
                yield from source.iter_sse()
            finally:
                self._listening = None

    def interrupt(self) -> None:
        """Have whatever waits for the feed's next event wait no longer."""
        if (listening := self._listening) is not None:
            with suppress(OSError):  # it has just been closed
                listening.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def _ask(self, url: str) -> httpx.Response:
        with self._reaching(url):
            fresh = {"cache-control": "no-cache"}
            return self._client.get(
                url, headers=fresh, timeout=_SECONDS_TO_ANSWER, follow_redirects=False
            )

    @contextmanager
    def _reaching(self, url: str) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            what = str(error) or type(error).__name__
            raise Unavailable(f"Cannot reach {url}: {what}") from error


def check_url(setting: str, url: str) -> None:
    """Accept what may be asked with a token: https, or this machine.

    Raises:
        ConfigurationError: it is something else.
    """
    match = _URL.fullmatch(url)
    here = match is not None and is_loopback(match["host"].strip("[]"))
    if match is None or (match["scheme"] == "http" and not here):
        raise ConfigurationError(setting, f"must be https, or on this machine: {url}")


def _require_success(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        raise Unavailable(f"{answer.url} answers {answer.status_code}")


def _socket_of(answer: httpx.Response) -> Any:
    stream = answer.extensions.get("network_stream")
    return stream and stream.get_extra_info("socket")
