"""A JWK set that an issuer publishes, read into the keys that check its access tokens."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from .core import base64url
from .core.errors import ConfigurationError
from .core.keyring import PublicKey, VerifyingKey

__all__ = ["read_jwks"]

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class _JwkSet(msgspec.Struct):
    keys: list[dict[str, Any]]


def read_jwks(written: bytes) -> dict[str, VerifyingKey]:
    """The keys of the set (RFC 7517, section 5), by the header that each writes.

    What is no key of ours is passed over, as that section wants it: what is weak, of another kind
    or use, has another id than its thumbprint, or private members for all to see.

    Raises:
        ValueError: it is no JWK set, or holds no key of ours.
    """
    jwks = msgspec.json.decode(written, type=_JwkSet)
    keys = [key for jwk in jwks.keys if (key := _read_key(jwk)) is not None]
    if not keys:
        raise ValueError("the JWK set holds no key that checks access tokens")
    return {key.header: key for key in keys}


def _read_key(jwk: dict[str, Any]) -> VerifyingKey | None:
    if not _PRIVATE.isdisjoint(jwk):
        return None
    with suppress(KeyError, TypeError, AttributeError, ValueError, ConfigurationError):
        key = VerifyingKey(_KINDS[jwk["kty"]](jwk), jwk["alg"])
        return key if key.jwk.items() <= jwk.items() else None
    return None


def _elliptic(jwk: dict[str, Any]) -> PublicKey:
    x, y = _number(jwk["x"]), _number(jwk["y"])
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _edwards(jwk: dict[str, Any]) -> PublicKey:
    return ed25519.Ed25519PublicKey.from_public_bytes(base64url.decode(jwk["x"]))


def _rsa(jwk: dict[str, Any]) -> PublicKey:
    return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()


def _number(text: str) -> int:
    return int.from_bytes(base64url.decode(text), "big")


_KINDS: Final = {"EC": _elliptic, "OKP": _edwards, "RSA": _rsa}
