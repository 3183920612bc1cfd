"""Password hashes that other programs made, for users who come from there.

Known are argon2 and bcrypt as everybody writes them, and what Django, Werkzeug and passlib write.
They are checked by the rules of whoever made them, the 72 bytes of bcrypt included, so that every
password goes on to work; the first sign-in puts a hash of our own in their place.

A hash says itself how much work it takes. What takes much over a second of one core, or over
256 MiB, is refused when it is read: else one line of a list could keep a server busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final, Protocol

import bcrypt
import msgspec
from argon2.exceptions import Argon2Error, VerifyMismatchError
from argon2.low_level import Type, verify_secret

from keyturn.core import base64url
from keyturn.core.errors import Unavailable

from .errors import InvalidField
from .hashing import Hasher

__all__ = ["ForeignHash", "WithForeign", "kept_form", "read_foreign"]

_LONGEST: Final = 512  # characters of a hash; those known here need fewer

_MOST_MEMORY: Final = 256 * 1024  # KiB
_MOST_ARGON2: Final = 1024 * 1024  # KiB gone through
_MOST_LANES: Final = 16
_MOST_BCRYPT: Final = 14  # a power of two
_MOST_PBKDF2: Final = 5_000_000
_MOST_SCRYPT: Final = 1 << 22  # blocks of 128 bytes that are mixed

_LONGEST_FOR_BCRYPT: Final = 72  # bytes of a password; it reads no further

_OURS: Final = "$argon2id$"


class ForeignHash(Protocol):
    """A hash that was read."""

    def matches(self, password: bytes) -> bool:
        """Whether ``password`` has this hash."""
        ...


class WithForeign:
    """A ``Hasher`` of argon2id that knows foreign hashes beside its own. They are all outdated.

    Args:
        own: makes the new ones.
    """

    def __init__(self, own: Hasher) -> None:
        self._own = own
        self.nobody = own.nobody

    def hash(self, password: bytes) -> str:
        """A hash of our own, with a random salt."""
        return self._own.hash(password)

    def verify(self, password_hash: str, password: bytes) -> bool:
        """Whether ``password`` has this hash.

        Raises:
            Unavailable: the memory could not be had, or the hash is damaged.
        """
        if password_hash.startswith(_OURS):
            return self._own.verify(password_hash, password)
        try:
            return read_foreign(password_hash).matches(password)
        except (Argon2Error, InvalidField, MemoryError, ValueError):
            raise Unavailable from None

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash is foreign, or less work was put into it than would be now."""
        return not password_hash.startswith(_OURS) or self._own.outdated(password_hash)


def kept_form(text: str) -> str:
    """A foreign hash as it is stored: one of argon2 as Django writes it, so that it is not taken
    for one of our own, which have other parameters.

    Raises:
        InvalidField: as ``read_foreign``.
    """
    read_foreign(text)
    return f"argon2{text}" if text.startswith("$argon2") else text


def read_foreign(text: str) -> ForeignHash:
    """Read a hash of any known form.

    Raises:
        InvalidField: naming ``passwordHash``: it has none of the forms, or takes too much work.
    """
    for form, read in _FORMS if len(text) <= _LONGEST else ():
        if match := form.fullmatch(text):
            try:
                return read(*match.groups())
            except ValueError:
                break
    raise InvalidField("passwordHash", "has none of the known forms, or is damaged")


def _require(*, within: bool) -> None:
    if not within:
        raise InvalidField("passwordHash", "takes more work or memory than is allowed here")


# ── schemes ─────────────────────────────────────────────────────────────────────────────────────


class _Argon2(msgspec.Struct, frozen=True):
    text: str
    type: Type

    def matches(self, password: bytes) -> bool:
        try:
            return verify_secret(self.text.encode(), password, self.type)
        except VerifyMismatchError:
            return False


class _Bcrypt(msgspec.Struct, frozen=True):
    settings: str
    """Variant, cost and salt: all that is before the digest."""
    digest: str
    prepare: Callable[[bytes], bytes]
    """What was done to the password first."""

    def matches(self, password: bytes) -> bool:
        read = self.prepare(password)[:_LONGEST_FOR_BCRYPT]
        made = bcrypt.hashpw(read, self.settings.encode())
        return hmac.compare_digest(made, f"{self.settings}{self.digest}".encode())


class _Pbkdf2(msgspec.Struct, frozen=True):
    function: str
    iterations: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        made = hashlib.pbkdf2_hmac(self.function, password, self.salt, self.iterations)
        return hmac.compare_digest(made, self.digest)


class _Scrypt(msgspec.Struct, frozen=True):
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def matches(self, password: bytes) -> bool:
        made = hashlib.scrypt(
            password,
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            dklen=len(self.digest),
            maxmem=2 * _MOST_MEMORY * 1024,  # it needs a little beside what it is asked for
        )
        return hmac.compare_digest(made, self.digest)


# ── what is allowed; a ValueError is a hash that is damaged ─────────────────────────────────────


def _argon2(text: str, kind: str, memory: int, passes: int, lanes: int) -> ForeignHash:
    _require(within=memory <= _MOST_MEMORY and lanes <= _MOST_LANES)
    _require(within=memory * passes <= _MOST_ARGON2)
    if memory < 8 * lanes:  # RFC 9106, section 3.1
        raise ValueError
    return _Argon2(text, Type[kind.upper()])


def _bcrypt(
    variant: str, cost: int, salt: str, digest: str, prepare: Callable[[bytes], bytes]
) -> ForeignHash:
    _require(within=cost <= _MOST_BCRYPT)
    return _Bcrypt(f"${variant}${cost:02}${salt}", digest, prepare)


def _pbkdf2(function: str, iterations: int, salt: bytes, digest: bytes) -> ForeignHash:
    _require(within=iterations <= _MOST_PBKDF2)
    if len(digest) != hashlib.new(function).digest_size:
        raise ValueError
    return _Pbkdf2(function, iterations, salt, digest)


def _scrypt(n: int, r: int, p: int, salt: bytes, digest: bytes) -> ForeignHash:
    _require(within=128 * n * r <= _MOST_MEMORY * 1024 and p <= _MOST_LANES)
    _require(within=n * r * p <= _MOST_SCRYPT)
    if n < 2 or n & (n - 1) or n >= 1 << (16 * r):  # RFC 7914, section 2
        raise ValueError
    return _Scrypt(n, r, p, salt, digest)


# ── the forms ───────────────────────────────────────────────────────────────────────────────────

_FORMS: Final[list[tuple[re.Pattern[str], Callable[..., ForeignHash]]]] = []

_NUMBER: Final = "([1-9][0-9]{0,9})"
_TEXT: Final = "([!-#%-~]+)"  # visible ASCII but the dollar
_BASE64: Final = "([A-Za-z0-9+/]+)"
_BASE64_OF_PASSLIB: Final = "([A-Za-z0-9./]+)"
_HEX: Final = "([0-9a-f]+)"
_COST: Final = "([4-9]|[12][0-9]|3[01])"
_BCRYPT_SALT: Final = "([./A-Za-z0-9]{21}[.Oeu])"
_BCRYPT_DIGEST: Final = "([./A-Za-z0-9]{30}[.CGKOSWaeimquy26])"
_BCRYPT: Final = rf"\$(2[aby])\$(0[4-9]|[12][0-9]|3[01])\${_BCRYPT_SALT}{_BCRYPT_DIGEST}"


def _form(pattern: str) -> Callable[[Callable[..., ForeignHash]], Callable[..., ForeignHash]]:
    """What is decorated reads hashes of this form: it gets the groups of the pattern."""

    def remember(read: Callable[..., ForeignHash]) -> Callable[..., ForeignHash]:
        _FORMS.append((re.compile(pattern, re.ASCII), read))
        return read

    return remember


def _base64(text: str, alphabet: str = "+/") -> bytes:
    """Strictly: one text for one value; with padding or without."""
    return base64url.decode(text.rstrip("=").translate(str.maketrans(alphabet, "-_")))


@_form(
    rf"(?:argon2)?(\$argon2(id|i|d)(?:\$v=(?:16|19))?"
    rf"\$m={_NUMBER},t={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64})"
)
def _argon2_of_all(
    text: str, kind: str, memory: str, passes: str, lanes: str, salt: str, digest: str
) -> ForeignHash:
    if len(_base64(salt)) < 8 or len(_base64(digest)) < 16:
        raise ValueError
    return _argon2(text, kind, int(memory), int(passes), int(lanes))


@_form(rf"(?:bcrypt\$)?{_BCRYPT}")
def _bcrypt_of_all(variant: str, cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt(variant, int(cost), salt, digest, lambda password: password)


@_form(rf"bcrypt_sha256\${_BCRYPT}")
def _bcrypt_of_django(variant: str, cost: str, salt: str, digest: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return hashlib.sha256(password).hexdigest().encode()

    return _bcrypt(variant, int(cost), salt, digest, prepare)


@_form(rf"\$bcrypt-sha256\$(2[ab]),{_COST}\${_BCRYPT_SALT}\${_BCRYPT_DIGEST}")
def _bcrypt_of_passlib_1_6(variant: str, cost: str, salt: str, digest: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return b64encode(hashlib.sha256(password).digest())

    return _bcrypt(variant, int(cost), salt, digest, prepare)


@_form(rf"\$bcrypt-sha256\$v=2,t=(2b),r={_COST}\${_BCRYPT_SALT}\${_BCRYPT_DIGEST}")
def _bcrypt_of_passlib(variant: str, cost: str, salt: str, digest: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return b64encode(hmac.digest(salt.encode(), password, "sha256"))

    return _bcrypt(variant, int(cost), salt, digest, prepare)


@_form(rf"pbkdf2_(sha1|sha256)\${_NUMBER}\${_TEXT}\${_BASE64}={{0,2}}")
def _pbkdf2_of_django(function: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(function, int(iterations), salt.encode(), _base64(digest))


@_form(rf"pbkdf2:(sha1|sha256|sha512):{_NUMBER}\${_TEXT}\${_HEX}")
def _pbkdf2_of_werkzeug(function: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(function, int(iterations), salt.encode(), bytes.fromhex(digest))


@_form(rf"\$pbkdf2(?:-(sha256|sha512))?\${_NUMBER}\${_BASE64_OF_PASSLIB}\${_BASE64_OF_PASSLIB}")
def _pbkdf2_of_passlib(
    function: str | None, iterations: str, salt: str, digest: str
) -> ForeignHash:
    return _pbkdf2(function or "sha1", int(iterations), _base64(salt, "./"), _base64(digest, "./"))


@_form(rf"scrypt\${_NUMBER}\${_TEXT}\${_NUMBER}\${_NUMBER}\${_BASE64}==")
def _scrypt_of_django(n: str, salt: str, r: str, p: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _digest(_base64(digest), 64))


@_form(rf"scrypt:{_NUMBER}:{_NUMBER}:{_NUMBER}\${_TEXT}\${_HEX}")
def _scrypt_of_werkzeug(n: str, r: str, p: str, salt: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _digest(bytes.fromhex(digest), 64))


@_form(rf"\$scrypt\$ln=([1-9][0-9]?),r={_NUMBER},p={_NUMBER}\${_BASE64}\${_BASE64}")
def _scrypt_of_passlib(log_n: str, r: str, p: str, salt: str, digest: str) -> ForeignHash:
    n = 1 << int(log_n)
    return _scrypt(n, int(r), int(p), _base64(salt), _digest(_base64(digest), 32))


def _digest(digest: bytes, length: int) -> bytes:
    if len(digest) != length:
        raise ValueError
    return digest
