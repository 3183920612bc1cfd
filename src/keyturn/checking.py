"""Checks of access tokens that remember which they have found good."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from msgspec.structs import replace

from .core.access_token import AccessToken, check_signature, said_by
from .core.cutoffs import CutoffView
from .core.errors import AccessTokenExpired, AccessTokenInvalid, AccessTokenRevoked
from .core.keyring import VerifyingKey

__all__ = ["Verifier"]


class Verifier:
    """Checks access tokens of one issuer for one audience, with ``keys`` by the header that each
    writes. Does no I/O.

    Good signatures are remembered in a cache bounded in bytes and keyed by the whole token, so a
    token seen before costs a look-up; its time and its session's cutoff are judged every time.
    """

    def __init__(
        self,
        keys: Mapping[str, VerifyingKey],
        cutoffs: CutoffView,
        *,
        issuer: str,
        audience: str,
        longest_ttl: int,
        cache_bytes: int = 8 << 20,
    ) -> None:
        self._keys = keys
        self._cutoffs = cutoffs
        self._issuer = issuer
        self._audience = audience
        self._longest_ttl = longest_ttl
        self._cache = _Cache(cache_bytes)

    def use(self, keys: Mapping[str, VerifyingKey]) -> None:
        """With other keys, what was found good before may no longer be."""
        self._keys = keys
        self._cache.clear()

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
        access = self._cache.get(token)
        if access is None:
            try:
                access = self._read_unseen(token)
            except (ValueError, TypeError, OverflowError, RecursionError):
                raise AccessTokenInvalid from None
            self._cache.put(token, access)
        return _for_the_caller(access) if access.claims.extra else access

    def _read_unseen(self, token: str) -> AccessToken:
        check_signature(token, self._keys)
        return said_by(
            token, issuer=self._issuer, audience=self._audience, longest_ttl=self._longest_ttl
        )


def _for_the_caller(access: AccessToken) -> AccessToken:
    """What is remembered is frozen but for ``extra``: a caller who changes that changes a copy."""
    extra = deepcopy(access.claims.extra)
    return replace(access, claims=replace(access.claims, extra=extra))


class _Cache:
    """Two halves: what is found in the older one moves to the younger, which becomes the older
    one when it is full. So what is used stays, and nothing is sorted.
    """

    _OVERHEAD = 1000  # bytes that an entry takes beyond its token, roughly

    def __init__(self, bound: int) -> None:
        self._half = bound // 2
        self.clear()

    def clear(self) -> None:
        self._young: dict[str, AccessToken] = {}
        self._old: dict[str, AccessToken] = {}
        self._size = 0

    def get(self, token: str) -> AccessToken | None:
        found = self._young.get(token)
        if found is None and (found := self._old.get(token)) is not None:
            self.put(token, found)
        return found

    def put(self, token: str, access: AccessToken) -> None:
        self._young[token] = access
        self._size += 2 * len(token) + self._OVERHEAD
        if self._size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
