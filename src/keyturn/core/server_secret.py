"""The server's secret and the keys derived from it. It is never in the database.

Several secrets may be configured: the first makes, all check. So a new secret is added in second
place everywhere, then promoted, and nobody notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        ours = tuple(ServerSecret(secret) for secret in secrets)
        if not ours:
            raise ConfigurationError("secret", "is missing")
        self.first = ours[0]
        self._by_id: dict[int, list[ServerSecret]] = {}
        for secret in ours:
            self._by_id.setdefault(secret.key_id, []).append(secret)

    def with_id(self, key_id: int) -> Sequence[ServerSecret]:
        """Those named by ``key_id``: mostly one, as an id is one byte."""
        return self._by_id.get(key_id, ())


def _derive(secret: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret)
