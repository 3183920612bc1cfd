"""Checks of access tokens that remember which they have found good."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from hashlib import sha256
from typing import Generic, TypeVar

from msgspec.structs import replace

from .core.access_token import AccessToken, check_signature, parts_of, said_by
from .core.cutoffs import CutoffView
from .core.errors import AccessTokenExpired, AccessTokenInvalid, AccessTokenRevoked
from .core.keyring import VerifyingKey

__all__ = ["Verifier"]

_Key = TypeVar("_Key", str, bytes)
_Value = TypeVar("_Value")


class Verifier:
    """Checks access tokens of one issuer for one audience, with ``keys`` by the header that each
    writes. Does no I/O.

    Good tokens are remembered, so that one seen lately costs a look-up; its time and its session's
    cutoff are judged every time. Of many more it is only remembered that they are signed, which is
    what costs: those are read again.

    Args:
        keys: that sign. With other ones what is remembered is worth nothing, so that takes another
            verifier.
        cutoffs: what is void.
        issuer: ``iss`` of the tokens.
        audience: ``aud`` of the tokens.
        longest_ttl: seconds that a token lives at most.
        cache_bytes: of memory for either kind, roughly.
    """

    def __init__(
        self,
        keys: Mapping[str, VerifyingKey],
        cutoffs: CutoffView,
        *,
        issuer: str,
        audience: str,
        longest_ttl: int,
        cache_bytes: int = 4 << 20,
    ) -> None:
        self._keys = keys
        self._cutoffs = cutoffs
        self._issuer = issuer
        self._audience = audience
        self._longest_ttl = longest_ttl
        self._good: _Cache[str, AccessToken] = _Cache(cache_bytes, overhead=400)
        self._signed: _Cache[bytes, bool] = _Cache(cache_bytes, overhead=56)

    def verify(self, token: str, now: int) -> AccessToken:
        """What ``token`` says, if it is ours, in time and not revoked.

        Raises:
            AccessTokenInvalid: we did not sign it for this audience.
            AccessTokenExpired: its time is over.
            AccessTokenRevoked: a cutoff voids it.
        """
        access = self.read(token)
        if access.expires_at <= now:
            raise AccessTokenExpired
        if self._cutoffs.voids(access.sid, access.version, access.issued_at):
            raise AccessTokenRevoked
        return access

    def read(self, token: str) -> AccessToken:
        """What ``token`` says, if it is ours; its time and its cutoff are not judged.

        Raises:
            AccessTokenInvalid: we did not sign it for this audience.
        """
        try:
            access = self._good.get(token)
            if access is None:
                access = self._read_anew(token)
                self._good.put(token, access)
        except (AttributeError, ValueError, TypeError, OverflowError, RecursionError):
            raise AccessTokenInvalid from None
        return _for_the_caller(access) if access.claims.extra else access

    def _read_anew(self, token: str) -> AccessToken:
        parts = parts_of(token)
        digest = sha256(token.encode("ascii")).digest()
        if not self._signed.get(digest):
            check_signature(parts, self._keys)
            self._signed.put(digest, True)
        return said_by(
            parts, issuer=self._issuer, audience=self._audience, longest_ttl=self._longest_ttl
        )


def _for_the_caller(access: AccessToken) -> AccessToken:
    """What is remembered is frozen but for ``extra``: a caller who changes that changes a copy."""
    extra = deepcopy(access.claims.extra)
    return replace(access, claims=replace(access.claims, extra=extra))


class _Cache(Generic[_Key, _Value]):
    """Two halves: what is found in the older one moves to the younger, which becomes the older
    one when it is full. So what is used stays, and nothing is sorted.

    Args:
        bound: bytes of both halves.
        overhead: bytes that an entry takes beyond its key, roughly.
    """

    def __init__(self, bound: int, *, overhead: int) -> None:
        self._half = bound // 2
        self._overhead = overhead
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}
        self._size = 0

    def get(self, key: _Key) -> _Value | None:
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        self._young[key] = value
        self._size += 2 * len(key) + self._overhead
        if self._size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
