"""The access token: a JWT that any service checks on its own (RFC 7519, shaped as RFC 9068).

We mint every token that we accept, and that makes the checks strict and short. The header is
compared, never interpreted: the first segment must be one that a key of ours writes. The payload
is read, written again and compared: what we would not have written is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from . import base64url
from .errors import ClaimsRefused
from .keyring import SigningKey, VerifyingKey
from .model import ALL_VERSIONS, Claims

__all__ = [
    "LONGEST_CLAIMS",
    "LONGEST_TOKEN",
    "RESERVED",
    "AccessToken",
    "Parts",
    "check_claims",
    "check_signature",
    "check_size",
    "mint",
    "parts_of",
    "said_by",
]

LONGEST_TOKEN: Final = 4000
"""Characters. A cookie holds 4096 bytes with its name; a longer one is dropped in silence."""
LONGEST_CLAIMS: Final = 2048
"""Bytes of the user's claims as JSON."""

RESERVED: Final = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "ver", "auth_time", "scope"}
    | {"client_id", "cnf", "act", "amr", "acr", "azp", "nonce"}
    | {"username", "email", "fullname", "permissions"}
)
"""Names that the application's own claims cannot take."""


Parts = tuple[str, str, str]
"""Of a token, as they stand between its dots."""


class AccessToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a good access token says."""

    user_id: str
    sid: str
    version: int
    issued_at: int
    expires_at: int
    auth_time: int
    """When the user signed in."""
    token_id: str
    claims: Claims


class _Payload(msgspec.Struct, omit_defaults=True):
    """The claims of every token, in the order they are written; the application's own follow."""

    iss: str
    sub: str
    aud: str
    exp: int
    iat: int
    jti: str
    sid: str
    ver: int
    auth_time: int
    scope: str = ""
    username: str = ""
    email: str = ""
    fullname: str = ""


_LONGEST_HEADER: Final = 110
_LONGEST_SIGNATURE: Final = 512  # of RS256 with 3072 bits
_DEEPEST: Final = 32
_payload_of: Final = msgspec.json.Decoder(_Payload).decode
_PERMISSION: Final = re.compile(r"[!#-\[\]-~]+")  # scope-token, RFC 6749, section 3.3


def mint(key: SigningKey, issuer: str, audience: str, token: AccessToken) -> str:
    """Sign ``token``, whose claims ``check_claims`` and ``check_size`` have let pass."""
    signed = f"{key.header}.{base64url.encode(_written(issuer, audience, token))}"
    return f"{signed}.{base64url.encode(key.sign(signed.encode()))}"


def _written(issuer: str, audience: str, token: AccessToken) -> bytes:
    claims = token.claims
    payload = _Payload(
        iss=issuer,
        sub=token.user_id,
        aud=audience,
        exp=token.expires_at,
        iat=token.issued_at,
        jti=token.token_id,
        sid=token.sid,
        ver=token.version,
        auth_time=token.auth_time,
        scope=" ".join(claims.permissions),
        username=claims.username,
        email=claims.email,
        fullname=claims.fullname,
    )
    return _encode(payload, claims.extra)


def _encode(payload: _Payload, extra: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(payload), **extra} if extra else payload)


def _decode(written: bytes) -> tuple[_Payload, dict[str, Any]]:
    """What was written, and the application's own claims in it; most tokens have none."""
    payload = _payload_of(written)
    extra: dict[str, Any] = {}
    if _encode(payload, extra) != written:
        members = msgspec.json.decode(written, type=dict[str, Any])
        extra = {name: members[name] for name in members if name not in RESERVED}
        if _encode(payload, extra) != written:
            raise ValueError("not as we write it")
    return payload, extra


def check_size(issuer: str, audience: str, token: AccessToken) -> None:
    """Refuse a token that a cookie could not hold, whatever its version and its algorithm.

    Raises:
        ClaimsRefused: it would have over ``LONGEST_TOKEN`` characters.
    """
    at_most = len(_written(issuer, audience, replace(token, version=ALL_VERSIONS)))
    if _LONGEST_HEADER + 1 + -(-at_most * 4 // 3) + 1 + _LONGEST_SIGNATURE > LONGEST_TOKEN:
        raise ClaimsRefused(f"the access token would have over {LONGEST_TOKEN} characters")


def check_claims(claims: Claims) -> None:
    """Refuse claims that an access token cannot carry, or would not give back as they were.

    Raises:
        ClaimsRefused: too large or too deep, a reserved name, a permission with a space, no JSON.
    """
    try:
        written = msgspec.json.encode(claims)
        survives = msgspec.json.decode(written, type=Claims) == claims
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ClaimsRefused(f"the claims are not JSON: {error}") from None
    if not survives:
        raise ClaimsRefused("the claims change when they are written as JSON and read again")
    if len(written) > LONGEST_CLAIMS:
        raise ClaimsRefused(f"the claims are over {LONGEST_CLAIMS} bytes")
    if _depth(claims.extra) > _DEEPEST:
        raise ClaimsRefused(f"the claims are nested deeper than {_DEEPEST}")
    for name in claims.extra:
        if name in RESERVED:
            raise ClaimsRefused(f"{name!r} is a name that Keyturn uses itself")
    if not all(map(_PERMISSION.fullmatch, claims.permissions)):
        raise ClaimsRefused("a permission is a word of ASCII without spaces, quotes, backslashes")


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def parts_of(token: str) -> Parts:
    """Header, payload and signature, as they are written.

    Raises:
        ValueError: it has not the form of a token.
    """
    if len(token) > LONGEST_TOKEN:
        raise ValueError("too long")
    header, payload, signature = token.split(".")
    return header, payload, signature


def check_signature(parts: Parts, keys: Mapping[str, VerifyingKey]) -> None:
    """Refuse what none of the ``keys``, by the header that each writes, has signed.

    Raises:
        ValueError: none has.
    """
    header, payload, signature = parts
    signed = f"{header}.{payload}".encode("ascii")
    key = keys.get(header)
    if key is None or not key.verify(base64url.decode(signature), signed):
        raise ValueError("not signed by us")


def said_by(parts: Parts, *, issuer: str, audience: str, longest_ttl: int) -> AccessToken:
    """What a token says whose signature was found good.

    Raises:
        ValueError: it was not made for this, or not as we make them.
    """
    payload, extra = _decode(base64url.decode(parts[1]))
    if payload.iss != issuer or payload.aud != audience:
        raise ValueError("not of this issuer for this audience")
    if not 0 < payload.exp - payload.iat <= longest_ttl:
        raise ValueError("a longer life than we give")
    return AccessToken(
        user_id=payload.sub,
        sid=payload.sid,
        version=payload.ver,
        issued_at=payload.iat,
        expires_at=payload.exp,
        auth_time=payload.auth_time,
        token_id=payload.jti,
        claims=Claims(
            username=payload.username,
            email=payload.email,
            fullname=payload.fullname,
            permissions=tuple(payload.scope.split(" ")) if payload.scope else (),
            extra=extra,
        ),
    )
