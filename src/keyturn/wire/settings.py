"""What the wire is told: where users reach it, whom it trusts, what its cookies are like."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from keyturn.core.errors import ConfigurationError
from keyturn.hosts import is_loopback

__all__ = ["REFRESH_PATH", "CookieSettings", "WireSettings", "check_random"]

REFRESH_PATH: Final = "/refresh-token"

_YEAR: Final = 31_536_000
_PREFIX: Final = re.compile(r"[0-9A-Za-z_-]{0,32}")  # so that name and token fit in 4096 bytes
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")  # none without a dot is taken
_PATH: Final = re.compile(r"/[!-:<-~]*")  # visible ASCII but the semicolon
_URL: Final = re.compile(
    r"(?P<scheme>https?)://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
    r"(/[A-Za-z0-9._~-]+)*"
)
_USUAL_PORTS: Final = {"http": "80", "https": "443"}
_LAST_PORT: Final = 65535
_SECRET: Final = re.compile(r"[!-+\--~]{32,1024}")  # printable ASCII but space and comma
_LEAST_DISTINCT: Final = 8  # of 32 random hexadecimal digits, one text in thirty million has fewer


def _check_choice(setting: str, value: str, *choices: str) -> None:
    if value not in choices:
        raise ConfigurationError(setting, f"must be one of {', '.join(choices)}")


class CookieSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the cookies are like.

    Raises:
        ConfigurationError: browsers would refuse such cookies.
    """

    prefix: str = "__Host-"
    domain: str | None = None
    refresh_path: str = "/"
    """Of the refresh cookie. Narrowed to the exchange, logout does not see the cookie."""
    samesite: Literal["lax", "strict", "none"] = "lax"
    insecure_http: bool = False
    """For development on loopback: no prefix, and no ``Secure``."""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError("cookie_prefix", "must be at most 32 letters, digits, - or _")
        if self.domain is not None and not _DOMAIN.fullmatch(self.domain):
            raise ConfigurationError("cookie_domain", "must be a domain in lower case, with a dot")
        if not _PATH.fullmatch(self.refresh_path):
            raise ConfigurationError("cookie_refresh_path", "must be a path that begins with /")
        _check_choice("cookie_samesite", self.samesite, "lax", "strict", "none")
        if self.samesite == "none" and self.insecure_http:
            raise ConfigurationError("cookie_samesite", "none needs cookies over https")
        self._check_prefix()

    def _check_prefix(self) -> None:
        """RFC 6265bis, section 4.1.3: browsers know these prefixes in any letter case."""
        prefix = self.effective_prefix
        for known in ("__Host-", "__Secure-"):
            if prefix.lower().startswith(known.lower()) and not prefix.startswith(known):
                raise ConfigurationError("cookie_prefix", f"must be written {known}")
        if prefix.startswith("__Host-"):
            if self.domain is not None:
                raise ConfigurationError("cookie_domain", "must not be set with prefix __Host-")
            if self.refresh_path != "/":
                raise ConfigurationError("cookie_refresh_path", "must be / with prefix __Host-")

    @property
    def effective_prefix(self) -> str:
        """What the names of the cookies begin with."""
        return "" if self.insecure_http else self.prefix


class WireSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the wire is told.

    Raises:
        ConfigurationError: a setting is impossible, or contradicts another.
    """

    public_url: str
    """Where users reach the server: origin and, if there is one, base path."""
    trusted_origins: tuple[str, ...] = ()
    """Other origins whose pages may ask, with cookies."""
    refresh_from_trusted_origins: bool = False
    """Whether they may exchange refresh tokens too."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose ``X-Forwarded-For`` is believed."""
    tokens_in_body: Literal["auto", "always", "never"] = "auto"
    """Whether JSON answers hold tokens; ``auto``: those to pages do not."""
    cookies: CookieSettings = CookieSettings()
    registration: Literal["open", "closed"] = "open"
    clear_site_data: bool = False
    """Whether logout tells the browser to drop all that it keeps of this site."""
    hsts_max_age: int = _YEAR
    """Seconds for which browsers shall come by https only; sent where ``public_url`` is https."""
    revocations_tokens: tuple[str, ...] = ()
    """What other services present to follow revocations; none: nobody can."""

    def __post_init__(self) -> None:
        _check_choice("tokens_in_body", self.tokens_in_body, "auto", "always", "never")
        _check_choice("registration", self.registration, "open", "closed")
        _check_url("public_url", self.public_url)
        if not self.https and not is_loopback(self.host):
            raise ConfigurationError("public_url", "must be https, as its host is not loopback")
        if self.https and self.cookies.insecure_http:
            raise ConfigurationError("cookie_insecure_http", "contradicts a public_url of https")
        for origin in self.trusted_origins:
            _check_url("trusted_origins", origin)
            if urlsplit(origin).path:
                raise ConfigurationError("trusted_origins", "must be origins, without a path")
        if not all(isinstance(proxy, IPv4Network | IPv6Network) for proxy in self.trusted_proxies):
            raise ConfigurationError(
                "trusted_proxies", "must be networks, as ip_network makes them"
            )
        if self.hsts_max_age < 0:
            raise ConfigurationError("hsts_max_age", "must not be negative")
        for token in self.revocations_tokens:
            check_random("revocations_token", token)
        self._check_reach()

    def _check_reach(self) -> None:
        """Refuse cookies that browsers would not take from this host, or not send back to it."""
        host, domain, path = self.host, self.cookies.domain, self.cookies.refresh_path
        if domain is not None and host != domain and not host.endswith(f".{domain}"):
            raise ConfigurationError("cookie_domain", "must be the host of public_url or above it")
        exchange = self.base_path + REFRESH_PATH
        if exchange != path and not exchange.startswith(path.rstrip("/") + "/"):
            raise ConfigurationError("cookie_refresh_path", f"must be above {exchange}")

    def __repr__(self) -> str:  # settings may be printed
        shown = (name for name in self.__struct_fields__ if name != "revocations_tokens")
        return f"WireSettings({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def https(self) -> bool:
        """Whether users come by https, whatever the last hop is."""
        return self.public_url.startswith("https:")

    @property
    def origin(self) -> str:
        """As a browser writes it into ``Origin``."""
        url = urlsplit(self.public_url)
        return f"{url.scheme}://{url.netloc}"

    @property
    def host(self) -> str:
        """Without the port."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def base_path(self) -> str:
        """What the public paths begin with: empty, or with a slash in front and none behind."""
        return urlsplit(self.public_url).path


def _check_url(setting: str, text: str) -> None:
    """Accept an http URL that is written as browsers write it, so that it can be compared.

    Raises:
        ConfigurationError: it is something else.
    """
    match = _URL.fullmatch(text)
    usual_port = match is not None and match["port"] == _USUAL_PORTS[match["scheme"]]
    if match is None or usual_port or int(match["port"] or 0) > _LAST_PORT:
        raise ConfigurationError(
            setting,
            "must be like https://example.com: in lower case, without a usual port, a slash at the"
            " end, or a query",
        )


def check_random(setting: str, text: str) -> None:
    """Accept a secret that nobody guesses, as far as its looks tell.

    Raises:
        ConfigurationError: it is short, of other characters, or simple.
    """
    if not _SECRET.fullmatch(text):
        raise ConfigurationError(
            setting, "must be at least 32 printable characters without spaces and commas"
        )
    if len(set(text)) < _LEAST_DISTINCT:
        raise ConfigurationError(setting, "must be random: try `keyturn secrets new FILE`")
