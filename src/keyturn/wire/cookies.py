"""Our cookies, to RFC 6265bis: how they are set and deleted."""

from __future__ import annotations

from typing import Final

from .http import Header
from .settings import REFRESH_PATH, CookieSettings, WireSettings

__all__ = ["LONGEST_AGE", "Cookie", "TokenCookie", "access_cookie", "refresh_cookie"]

LONGEST_AGE: Final = 400 * 86_400
"""Seconds. Browsers cut what is longer, so it would be a false promise."""

_PREFIXES: Final = ("__Host-", "__Secure-", "")


class Cookie:
    """One cookie as a browser keeps it: a name, a path and, at times, a domain."""

    def __init__(self, name: str, path: str, domain: str | None, settings: CookieSettings) -> None:
        self.name = name.encode()
        self._identity = (name, path, domain)
        attributes = [f"Path={path}", "HttpOnly", f"SameSite={settings.samesite.capitalize()}"]
        if domain is not None:
            attributes.append(f"Domain={domain}")
        if not settings.insecure_http:
            attributes.append("Secure")
        self._attributes = "; ".join(attributes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cookie) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def set(self, value: str, max_age: int | None) -> Header:
        """The header that sets it, for ``max_age`` seconds or until the browser closes."""
        lifetime = "" if max_age is None else f"; Max-Age={min(max_age, LONGEST_AGE)}"
        return b"set-cookie", f"{self._identity[0]}={value}; {self._attributes}{lifetime}".encode()

    def delete(self) -> Header:
        """The header that deletes it. A browser finds it by the attributes it was set with."""
        return self.set("", 0)


class TokenCookie(Cookie):
    """The cookie of one kind of token, and what else may hold such a token.

    ``twins`` have its name, but another path or domain: set under other settings, they are sent
    beside it, and would outlast it. ``strays`` have another name.
    """

    def __init__(self, token: str, path: str, settings: WireSettings, *past_paths: str) -> None:
        cookies = settings.cookies
        super().__init__(cookies.effective_prefix + token, path, cookies.domain, cookies)
        others = dict.fromkeys(
            Cookie(prefix + token, other_path, domain, cookies)
            for prefix in _PREFIXES
            for other_path in (path, *past_paths)
            for domain in (None, *_domains(settings))
            if prefix != "__Host-" or (other_path == "/" and domain is None)
        )
        others.pop(self, None)
        self.twins = [other for other in others if other.name == self.name]
        self.strays = [other for other in others if other.name != self.name]
        self._twins_deleted = [twin.delete() for twin in self.twins]

    def replace(self, value: str, max_age: int | None) -> list[Header]:
        """The headers that set it and leave no twin: unseen, as those may have a path of their own.

        It is set last: to RFC 6265 a cookie of the host alone and one of the host's domain are the
        same cookie.
        """
        return [*self._twins_deleted, self.set(value, max_age)]


def _domains(settings: WireSettings) -> list[str]:
    """Those that a cookie of this host can have: the host's own and the ones above it."""
    labels = settings.host.split(".")
    if not labels[-1].isalpha():
        return []  # an IP address
    return [".".join(labels[start:]) for start in range(len(labels) - 1)]


def access_cookie(settings: WireSettings) -> TokenCookie:
    """The cookie of the access token, which all paths of the host may need."""
    return TokenCookie("accessToken", "/", settings)


def refresh_cookie(settings: WireSettings) -> TokenCookie:
    """The cookie of the refresh token. Past settings may have narrowed its path, or not."""
    narrowest = settings.base_path + REFRESH_PATH
    return TokenCookie("refreshToken", settings.cookies.refresh_path, settings, "/", narrowest)
