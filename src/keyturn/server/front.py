"""What is in front of the server: looked at from outside, by the public URL, as a user comes. And
whom the server itself calls.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from keyturn._version import __version__
from keyturn.wire.client import is_trusted
from keyturn.wire.routes import JWKS_PATH, METADATA_PATH, READINESS_PATH

from .findings import SECONDS_APART, Finding, look
from .mirror import MIRROR_PATH, Reflection, doctor_token
from .settings import Settings, variable

__all__ = ["look_at_webhook", "look_from_front"]

_SECONDS_TO_ANSWER: Final = 3
_LONGEST_ANSWER: Final = 1 << 20
_PROXY_FAILED: Final = frozenset({502, 503, 504})
_PLAIN_PORT: Final = 80
_NOT_READY: Final = (
    "users cannot sign in or stay signed in there; the log of the server says why, and where its"
    " settings were changed it wants a restart"
)
_INVENTED: Final = "192.0.2.77"
"""An address that is nobody's (RFC 5737), sent as if we were passed on for it."""


def look_from_front(
    settings: Settings, secret: bytes | None, kids: Collection[str], *, up: bool
) -> list[Finding]:
    """Whether the public URL leads to us, and how a request that is made there arrives.

    Args:
        settings: of the server.
        secret: the first of them, if there is one to be shown.
        kids: of the signing keys in the database, as far as it could be read.
        up: whether a server is meant to run, so that it is wrong where none answers.
    """
    subject = f"public URL {settings.public_url}"
    try:
        metadata = _asked_for_metadata(settings.public_url)
        advice = _not_us(metadata, settings) or _not_our_keys(settings, kids)
        if advice:
            return [Finding(subject, advice)]
        arrivals = _how_it_arrives(settings, secret) if secret is not None else []
        return [Finding(subject), *_readiness(settings), *_https(settings, metadata), *arrivals]
    except _CertificateRefusedError as error:
        return [Finding(subject, f"its certificate is refused, also by browsers: {error}")]
    except _NobodyAnswersError as error:
        advice = f"nobody answers there ({error}): do `keyturn serve` and what is in front run?"
        return [Finding(subject, advice, minor=not up)]


def look_at_webhook(settings: Settings) -> list[Finding]:
    """Whether its receiver can be reached, as far as a connection tells: nothing is posted."""
    if not settings.webhook_url:
        return []
    try:
        with _connected(settings.webhook_url):
            return [Finding("webhook receiver")]
    except _CertificateRefusedError as error:
        return [Finding("webhook receiver", f"its certificate is refused: {error}")]
    except _NobodyAnswersError as error:
        advice = f"nobody answers there ({error}): events wait for it, for two days"
        return [Finding("webhook receiver", advice)]


# ── is it us? ───────────────────────────────────────────────────────────────────────────────────


def _asked_for_metadata(url: str) -> _Answer:
    answer = _ask(url + METADATA_PATH)
    if answer.status in _PROXY_FAILED:
        raise _NobodyAnswersError(f"status {answer.status} of a proxy")
    return answer


def _not_us(metadata: _Answer, settings: Settings) -> str:
    if 300 <= metadata.status < 400:
        place = metadata.headers.get("location")
        return f"it leads to {place}: set {variable('public_url')} to where users arrive"
    if metadata.document().get("issuer") == settings.issuer:
        return ""
    return (
        f"somebody else answers there (status {metadata.status}), or a server with another issuer:"
        f" correct {variable('public_url')}, or where the proxy passes requests to"
    )


def _not_our_keys(settings: Settings, kids: Collection[str]) -> str:
    keys = _ask(settings.public_url + JWKS_PATH).document().get("keys", [])
    if not kids or any(key.get("kid") in kids for key in keys):
        return ""
    return "the server there has none of the signing keys of this database: it is on another one"


def _readiness(settings: Settings) -> list[Finding]:
    """What it answers by memory goes on while its database refuses it. Not every proxy passes the
    question on.
    """
    try:
        answer = _ask(settings.public_url + READINESS_PATH)
    except _NobodyAnswersError as error:
        return [Finding("readiness", f"{READINESS_PATH} is not answered ({error}): {_NOT_READY}")]
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        said = answer.document().get("detail", HTTPStatus.SERVICE_UNAVAILABLE.phrase)
        return [Finding("readiness", f"{READINESS_PATH} answers 503 ({said}): {_NOT_READY}")]
    return [Finding("readiness")] if answer.status == HTTPStatus.OK else []


# ── what happens on the way ─────────────────────────────────────────────────────────────────────


def _https(settings: Settings, metadata: _Answer) -> list[Finding]:
    if not settings.public_url.startswith("https:"):
        return []
    return look("https", _what_is_not_only_https(settings, metadata))


def _what_is_not_only_https(settings: Settings, metadata: _Answer) -> Iterator[str]:
    if "strict-transport-security" not in metadata.headers:
        yield "answers have lost their Strict-Transport-Security: let the proxy pass it on"
    url = urlsplit(settings.public_url)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    try:
        plain = _asked_for_metadata(f"http://{host}:{_PLAIN_PORT}{url.path}")
    except _NobodyAnswersError:
        return
    if plain.document().get("issuer") == settings.issuer:
        yield "http:// is answered as well: let the proxy lead from there to https://"


def _how_it_arrives(settings: Settings, secret: bytes) -> list[Finding]:
    credentials = f"Bearer {doctor_token(secret)}"
    answer = _ask(
        settings.public_url + MIRROR_PATH,
        {"Authorization": credentials, "X-Forwarded-For": _INVENTED},
    )
    try:
        seen = msgspec.json.decode(answer.body, type=Reflection)
    except msgspec.DecodeError:
        advice = (
            "it does not know the first of the secrets, or is of an older release: restart it with"
            " the settings that this command has"
        )
        return [Finding("running server", advice)]
    server = look(f"running server, release {seen.release}", _clock(seen), _release(seen))
    if not settings.public_url.startswith("https:"):
        return server
    return [*server, *look("forwarded addresses", _what_is_forwarded(settings, seen))]


def _clock(seen: Reflection) -> Iterator[str]:
    apart = int(abs(seen.now - time.time()))
    if apart > SECONDS_APART:
        yield f"its clock and the one here differ by {apart} s; keep them within a second (NTP)"


def _release(seen: Reflection) -> Iterator[str]:
    if seen.release != __version__:
        yield f"this command is of release {__version__}: restart the server when you are ready"


def _what_is_forwarded(settings: Settings, seen: Reflection) -> Iterator[str]:
    name = variable("trusted_proxies")
    if not is_trusted(seen.peer, settings.trusted_proxies):
        yield (
            f"requests come from {seen.peer}, which is not in {name}: add it, until then every user"
            " seems to come from there"
        )
    if _INVENTED in seen.forwarded_for:
        yield (
            "what clients send as X-Forwarded-For is passed on, so they can choose their address:"
            " let the proxy set it anew (nginx: proxy_set_header X-Forwarded-For $remote_addr)"
        )
    elif not seen.forwarded_for:
        yield (
            f"the proxy at {seen.peer} sends no X-Forwarded-For, so every user seems to come from"
            " there: let it set it"
        )


# ── asking ──────────────────────────────────────────────────────────────────────────────────────


class _NobodyAnswersError(Exception):
    """Says why, as far as this machine knows."""


class _CertificateRefusedError(Exception):
    """Says why."""


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """What it holds as JSON; empty if that is no object."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


def _ask(url: str, headers: Mapping[str, str] = {}) -> _Answer:
    """What is answered there; nobody is followed elsewhere.

    Raises:
        _CertificateRefusedError: whoever answers cannot show who they are.
        _NobodyAnswersError: there is no answer in HTTP.
    """
    with _connected(url) as way:
        way.request("GET", urlsplit(url).path, headers=dict(headers))
        answer = way.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return _Answer(answer.status, told, answer.read(_LONGEST_ANSWER))


@contextmanager
def _connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to whoever is there. Raises as ``_ask``, also of what fails within."""
    parts = urlsplit(url)
    https = parts.scheme == "https"
    kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=_SECONDS_TO_ANSWER)) as way:
            way.connect()
            yield way
    except ssl.SSLCertVerificationError as error:
        raise _CertificateRefusedError(error.verify_message) from None
    except (OSError, http.client.HTTPException) as error:
        raise _NobodyAnswersError(getattr(error, "strerror", None) or str(error)) from None
