"""The server's secret and the keys derived from it. It is never in the database.

Several secrets may be configured: the first makes, all check. So a new secret is added in second
place everywhere, then promoted, and nobody notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import ConfigurationError

__all__ = ["ServerSecret", "ServerSecrets"]

_LEAST_BYTES: Final = 32


class ServerSecret:
    """One secret, as the keys that are derived from it (HKDF-SHA256, RFC 5869, a label each).

    Raises:
        ConfigurationError: the secret is shorter than 32 bytes, or all its bytes are equal.
    """

    __slots__ = ("key_id", "refresh_key", "refresh_mac", "throttle_key", "wrapping_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _LEAST_BYTES:
            raise ConfigurationError("secret", f"must be at least {_LEAST_BYTES} bytes")
        if len(set(secret)) == 1:
            raise ConfigurationError("secret", "must be random")
        self.refresh_key = _derive(secret, b"keyturn refresh key v1", 32)
        self.refresh_mac = HMAC(self.refresh_key, SHA256())
        self.wrapping_key = _derive(secret, b"keyturn signing key wrapping v1", 32)
        self.throttle_key = _derive(secret, b"keyturn throttle key v1", 32)
        self.key_id = _derive(secret, b"keyturn secret id v1", 1)[0]
        """Derived, never a position in a list: so all processes agree while secrets change."""


class ServerSecrets:
    """The configured secrets: the first makes, all check."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._all = tuple(ServerSecret(secret) for secret in secrets)
        if not self._all:
            raise ConfigurationError("secret", "is missing")

    @property
    def first(self) -> ServerSecret:
        return self._all[0]

    def with_id(self, key_id: int) -> Iterator[ServerSecret]:
        """Those named by ``key_id``: mostly one, as an id is one byte."""
        return (secret for secret in self._all if secret.key_id == key_id)


def _derive(secret: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret)
