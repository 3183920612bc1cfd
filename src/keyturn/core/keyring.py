"""The keys that sign access tokens: their kinds, their life cycle, their public side (JWKS).

A key is published before it is used (``use_from``), signs until a newer one takes over, and checks
until the last token that it signed has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from . import base64url
from .errors import ConfigurationError
from .model import SealedKey

__all__ = [
    "ALGORITHMS",
    "JWKS_MAX_AGE",
    "Keyring",
    "PrivateKey",
    "PublicKey",
    "SigningKey",
    "VerifyingKey",
    "generate",
    "in_use",
]

ALGORITHMS: Final = ("ES256", "EdDSA", "RS256")
_RSA_BITS: Final = 3072
_LEAST_RSA_BITS: Final = 2048

JWKS_MAX_AGE: Final = 300
"""Seconds for which others may keep a copy of the public keys."""

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class VerifyingKey:
    """A public key, used with exactly one algorithm.

    Raises:
        ConfigurationError: there is no such algorithm, or the key does not fit it, or is weak.
    """

    def __init__(self, public_key: PublicKey, algorithm: str) -> None:
        if algorithm not in ALGORITHMS:
            raise _unknown_algorithm()
        self.algorithm = algorithm
        self._members, self.verify, self._scheme = _KINDS[algorithm](public_key)
        self.kid = _thumbprint(self._members)
        header = {"alg": algorithm, "kid": self.kid, "typ": "at+jwt"}
        self.header = base64url.encode(msgspec.json.encode(header))
        """The first segment of every token that this key signs."""

    @property
    def jwk(self) -> dict[str, str]:
        """The public key, as RFC 7517, section 4, lays it out."""
        return {**self._members, "alg": self.algorithm, "kid": self.kid, "use": "sig"}


class SigningKey(VerifyingKey):
    """A private key, which also verifies what it signed."""

    def __init__(
        self, private_key: PrivateKey, algorithm: str, *, created_at: int, use_from: int
    ) -> None:
        super().__init__(private_key.public_key(), algorithm)
        self.private_key = private_key
        self.created_at = created_at
        self.use_from = use_from

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``, as RFC 7518, section 3, and RFC 8037 lay it out."""
        if isinstance(self.private_key, ed25519.Ed25519PrivateKey):
            return self.private_key.sign(data)
        signature = self.private_key.sign(sha256(data).digest(), *self._scheme)
        if self.algorithm == "RS256":
            return signature
        r, s = utils.decode_dss_signature(signature)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


_Key = TypeVar("_Key", SigningKey, SealedKey)


def in_use(keys: Sequence[_Key], now: int) -> _Key:
    """The key that signs: of those in the order they were added the last whose time has come, and
    before any one's time the first. So a key that is added takes the place of all before it, also
    of those whose time would come later.

    Raises:
        LookupError: there is none.
    """
    if not keys:
        raise LookupError("there is no signing key")
    for key in reversed(keys):
        if key.use_from <= now:
            return key
    return keys[0]


class Keyring:
    """The keys in force, in the order they were added. A value: a change of keys is a new one."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self.keys = tuple(keys)
        self.by_header = {key.header: key for key in self.keys}

    def signing_key(self, now: int) -> SigningKey:
        """The one that signs, as ``in_use`` says.

        Raises:
            LookupError: the ring is empty.
        """
        return in_use(self.keys, now)

    def jwks(self) -> bytes:
        """The public keys as a JWK set (RFC 7517, section 5)."""
        return msgspec.json.encode({"keys": [key.jwk for key in self.by_header.values()]})


def generate(algorithm: str, *, created_at: int, use_from: int) -> SigningKey:
    """A new key of the kind that ``algorithm`` wants.

    Raises:
        ConfigurationError: there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise _unknown_algorithm()
    return SigningKey(_NEW[algorithm](), algorithm, created_at=created_at, use_from=use_from)


_NEW: Final[dict[str, Callable[[], PrivateKey]]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS),
}


def _unknown_algorithm() -> ConfigurationError:
    return ConfigurationError("signing_algorithm", f"must be one of {', '.join(ALGORITHMS)}")


def _thumbprint(members: dict[str, str]) -> str:
    """RFC 7638, section 3: the SHA-256 of the required members in the order of their names."""
    digest = Hash(SHA256())
    digest.update(msgspec.json.encode(dict(sorted(members.items()))))
    return base64url.encode(digest.finalize())


_Kind = tuple[dict[str, str], Callable[[bytes, bytes], bool], tuple[Any, ...]]
"""Members of the JWK, a check of signatures, and what signing takes besides the data."""

_HASHED: Final = utils.Prehashed(SHA256())
"""By ``hashlib``, as ``cryptography`` makes an object anew for each hash, which costs more."""


def _es256(public_key: PublicKey) -> _Kind:
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(
        public_key.curve, ec.SECP256R1
    ):
        raise ConfigurationError("signing_algorithm", "ES256 needs a key on P-256")
    scheme = ec.ECDSA(_HASHED)
    numbers = public_key.public_numbers()
    x, y = (base64url.encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))

    def verify(signature: bytes, data: bytes) -> bool:
        if len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        encoded = utils.encode_dss_signature(r, s)
        return _holds(public_key.verify, encoded, sha256(data).digest(), scheme)

    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}, verify, (scheme,)


def _eddsa(public_key: PublicKey) -> _Kind:
    if not isinstance(public_key, ed25519.Ed25519PublicKey):
        raise ConfigurationError("signing_algorithm", "EdDSA needs an Ed25519 key")

    def verify(signature: bytes, data: bytes) -> bool:
        return _holds(public_key.verify, signature, data)

    x = base64url.encode(public_key.public_bytes_raw())
    return {"crv": "Ed25519", "kty": "OKP", "x": x}, verify, ()


def _rs256(public_key: PublicKey) -> _Kind:
    if not isinstance(public_key, rsa.RSAPublicKey) or public_key.key_size < _LEAST_RSA_BITS:
        raise ConfigurationError("signing_algorithm", f"RS256 needs RSA of {_LEAST_RSA_BITS} bits")
    scheme = padding.PKCS1v15(), _HASHED
    numbers = public_key.public_numbers()

    def verify(signature: bytes, data: bytes) -> bool:
        return _holds(public_key.verify, signature, sha256(data).digest(), *scheme)

    return {"e": _unsigned(numbers.e), "kty": "RSA", "n": _unsigned(numbers.n)}, verify, scheme


def _unsigned(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _holds(check: Callable[..., None], *arguments: Any) -> bool:
    try:
        check(*arguments)
    except InvalidSignature:
        return False
    return True


_KINDS: Final = {"ES256": _es256, "EdDSA": _eddsa, "RS256": _rs256}
