"""Every setting of the server, in one table: the fields of ``Settings``.

Each field says its type, its default, how its text is read and what it is for. A setting comes
from the environment as ``KEYTURN_NAME``, else from a TOML file as ``name``; what is unknown or
cannot be read is an error that names it. What a value must be to make sense is said where it is
used. Values are never repeated in messages, as some are secret.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints
from urllib.parse import parse_qs, urlsplit

from keyturn.core.errors import ConfigurationError
from keyturn.core.keyring import ALGORITHMS
from keyturn.core.model import DAY
from keyturn.hosts import is_loopback

__all__ = [
    "DEFAULT_PORT",
    "Network",
    "Settings",
    "check_binding",
    "is_setting",
    "load_settings",
    "origins_of_settings",
    "settings_table",
    "shown_settings",
    "unknown_proxy",
    "variable",
]

DEFAULT_PORT: Final = 8000
_PREFIX: Final = "KEYTURN_"
_OF_KUBERNETES: Final = re.compile(
    _PREFIX + r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d+"
    r"|PORT(_\d+_[A-Z]+)?=[a-z]+://.*|PORT_\d+_[A-Z]+_(PROTO|PORT|ADDR)=.*)"
)
"""What it tells every container of a service that is called ``keyturn`` or ``keyturn-…``. A port
alone is what somebody takes for a setting.
"""
_NO_SECONDS: Final = "must be a whole number of seconds"
_SERVERS: Final = ("postgresql", "postgres")
_ENCODE: Final = (
    "must have / ? # [ ] and @ in user and password percent-encoded, as in"
    " postgresql://USER:aB3%2FxY@HOST/DATABASE"
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


# ── how the text of a setting is read; each raises ValueError with what would do ────────────────


def _text(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("must be printable text")
    return text


def _optional_text(text: str) -> str:
    return _text(text) if text else ""


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("must be a whole number")
    return int(text)


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError(_NO_SECONDS)
    return int(text)


def _flag(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}{_guess(text, choices)}")
        return text

    return read


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def _nonempty_list(text: str) -> tuple[str, ...]:
    if not _list(text):
        raise ValueError("must not be empty")
    return _list(text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        networks = tuple(ipaddress.ip_network(part) for part in _list(text))
    except ValueError:
        raise ValueError("must be addresses or networks, such as 127.0.0.1,10.0.0.0/8") from None
    if not all(network.prefixlen for network in networks):
        raise ValueError("must not be everybody: each client could tell any address as its own")
    return networks


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(_path(part) for part in _nonempty_list(text))


def _path(text: str) -> Path:
    try:
        return Path(_text(text)).expanduser().absolute()
    except RuntimeError:
        raise ValueError("begins with ~, but there is no such home folder") from None


def _database_url(text: str) -> str:
    kind, _, rest = _text(text).partition("://")
    if not (kind == "sqlite" and len(rest) > 1 and rest[0] == "/") and kind not in _SERVERS:
        raise ValueError("must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE")
    if kind in _SERVERS:
        _check_server_url(text)
    return text


def _check_server_url(text: str) -> None:
    """Refuse what has its password where it would not be looked for when the URL is shown."""
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError(_ENCODE) from None
    if "@" in url.path + url.query + url.fragment:
        raise ValueError(_ENCODE)
    if "password" in parse_qs(url.query):
        raise ValueError("must have the password before the host, not in its query")


def _url(text: str) -> str:
    return _text(text).rstrip("/")  # what is put behind it begins with one


# ── the table ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Setting:
    """How the text of a setting is read, what it is for, and its default where that is derived."""

    read: Callable[[str], Any]
    help: str
    derived_default: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a server is told. ``load_settings`` makes it; times are in seconds."""

    public_url: Annotated[
        str,
        _Setting(
            _url,
            "Where users reach the server: origin, and base path if it has one",
            "http://127.0.0.1:PORT",
        ),
    ]
    data_dir: Annotated[
        Path,
        _Setting(
            _path,
            "Folder of the generated secret and the database",
            "$STATE_DIRECTORY, else $XDG_DATA_HOME/keyturn",
        ),
    ]
    database_url: Annotated[
        str,
        _Setting(
            _database_url,
            "Where sessions live: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE",
            "sqlite:///DATA_DIR/keyturn.db",
        ),
    ] = dataclasses.field(repr=False)  # it may hold a password
    secret: Annotated[
        tuple[str, ...],
        _Setting(
            _nonempty_list,
            "The server's secrets, at least 32 random characters each; the first makes, all check",
        ),
    ] = dataclasses.field(default=(), repr=False)
    secret_file: Annotated[
        tuple[Path, ...],
        _Setting(
            _paths, "Files with one secret each, instead of KEYTURN_SECRET", "DATA_DIR/secret"
        ),
    ] = ()
    issuer: Annotated[str, _Setting(_optional_text, "iss of the access tokens", "PUBLIC_URL")] = ""
    audience: Annotated[str, _Setting(_optional_text, "aud of the access tokens", "ISSUER")] = ""
    service_name: Annotated[
        str, _Setting(_text, "What users call the service, and must not take as a password")
    ] = "Keyturn"
    access_ttl: Annotated[int, _Setting(_seconds, "How long an access token lives")] = 600
    retry_window: Annotated[
        int, _Setting(_seconds, "How long a repeated exchange is answered as the first was")
    ] = 30
    recover: Annotated[
        bool, _Setting(_flag, "Whether an exchange whose answer was lost may be repeated later")
    ] = True
    idle_timeout: Annotated[
        int, _Setting(_seconds, "A session ends after this long without an exchange")
    ] = 30 * DAY
    absolute_lifetime: Annotated[
        int, _Setting(_seconds, "A session ends after this long in any case")
    ] = 180 * DAY
    max_sessions: Annotated[
        int, _Setting(_number, "How many a user may have; one more ends the least recently used")
    ] = 50
    signing_algorithm: Annotated[
        str, _Setting(_one_of(*ALGORITHMS), "ES256, EdDSA or RS256; a change makes a new key")
    ] = "ES256"
    profile_in_token: Annotated[
        bool, _Setting(_flag, "Whether access tokens carry user name, email and full name")
    ] = True
    trusted_origins: Annotated[
        tuple[str, ...], _Setting(_list, "Other origins whose pages may call")
    ] = ()
    trusted_proxies: Annotated[
        tuple[Network, ...],
        _Setting(_networks, "Addresses or networks of proxies whose X-Forwarded-For is believed"),
    ] = ()
    tokens_in_body: Annotated[
        Literal["auto", "always", "never"],
        _Setting(
            _one_of("auto", "always", "never"),
            "Whether JSON answers carry tokens: always, never, or auto: except to pages",
        ),
    ] = "auto"
    cookie_prefix: Annotated[
        str, _Setting(_optional_text, "What the names of the cookies begin with")
    ] = "__Host-"
    cookie_domain: Annotated[
        str, _Setting(_optional_text, "Domain of the cookies; needs another prefix")
    ] = ""
    cookie_refresh_path: Annotated[str, _Setting(_text, "Path of the refresh cookie")] = "/"
    cookie_samesite: Annotated[
        Literal["lax", "strict", "none"],
        _Setting(_one_of("lax", "strict", "none"), "SameSite of the cookies: lax, strict or none"),
    ] = "lax"
    cookie_insecure_http: Annotated[
        bool, _Setting(_flag, "Cookies over plain http, for development on loopback only")
    ] = False
    registration: Annotated[
        Literal["open", "closed"],
        _Setting(_one_of("open", "closed"), "open, or closed: only `keyturn users` adds users"),
    ] = "open"
    pages: Annotated[
        bool, _Setting(_flag, "Whether there are pages for people, beside the endpoints")
    ] = True
    password_min_length: Annotated[
        int, _Setting(_number, "Characters that a new password must have")
    ] = 8
    max_staleness: Annotated[
        int,
        _Setting(_seconds, "Seconds without news of revocations before a server counts as stale"),
    ] = 30
    on_stale: Annotated[
        Literal["allow", "refuse"],
        _Setting(
            _one_of("allow", "refuse"),
            "Whether a stale server still accepts access tokens: allow or refuse",
        ),
    ] = "allow"
    revocations_token: Annotated[
        tuple[str, ...],
        _Setting(
            _list,
            "What other services present to follow revocations, at least 32 random characters;"
            " several may be good at once, none: nobody can",
        ),
    ] = dataclasses.field(default=(), repr=False)
    metrics_token: Annotated[
        str,
        _Setting(
            _optional_text,
            "What Prometheus presents at /metrics, at least 32 random characters; none: nothing is"
            " there",
        ),
    ] = dataclasses.field(default="", repr=False)
    webhook_url: Annotated[
        str, _Setting(_optional_text, "Where every event is posted, signed; none: nowhere")
    ] = dataclasses.field(default="", repr=False)  # it may hold a password
    webhook_secret: Annotated[
        tuple[str, ...],
        _Setting(
            _list,
            "What signs what is posted, from `keyturn webhook secret`; several sign beside each"
            " other",
        ),
    ] = dataclasses.field(default=(), repr=False)
    event_retention: Annotated[int, _Setting(_seconds, "How long events are kept")] = 90 * DAY
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _Setting(
            _one_of("debug", "info", "warning", "error"),
            "Least level that is logged: debug, info, warning or error. Who signs in and out, and"
            " what is refused, is logged at info",
        ),
    ] = "info"
    log_format: Annotated[
        Literal["json", "text"],
        _Setting(_one_of("json", "text"), "What a line of the logs is: json or text"),
    ] = "json"
    access_log: Annotated[
        bool, _Setting(_flag, "Whether each request is logged, by method and path")
    ] = False


_TABLE: Final[dict[str, _Setting]] = {
    name: get_args(hint)[1] for name, hint in get_type_hints(Settings, include_extras=True).items()
}


def settings_table() -> Iterator[tuple[str, str, str]]:
    """Of each setting: its name in the environment, its default, what it is for."""
    for field in dataclasses.fields(Settings):
        setting = _TABLE[field.name]
        default = setting.derived_default or _as_text(field.default)
        yield variable(field.name), default, setting.help


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


# ── loading ─────────────────────────────────────────────────────────────────────────────────────


def load_settings(
    environment: Mapping[str, str], config: Path | None = None, *, port: int = DEFAULT_PORT
) -> Settings:
    """The settings of the TOML file ``config``, overridden by those of the environment; ``port``
    is for the default of ``public_url``.

    Raises:
        ConfigurationError: a setting is unknown or impossible, or the file cannot be read.
    """
    given = {
        name: _read(name, text, label)
        for name, (text, label) in _given_texts(environment, config).items()
    }
    if "secret" in given and "secret_file" in given:
        raise ConfigurationError(
            variable("secret"), "is set beside KEYTURN_SECRET_FILE: keep one of the two"
        )
    given.setdefault("public_url", f"http://127.0.0.1:{port}")
    given.setdefault("data_dir", _default_data_dir(environment))
    given.setdefault("database_url", f"sqlite:///{given['data_dir'] / 'keyturn.db'}")
    given["issuer"] = given.get("issuer") or given["public_url"]
    given["audience"] = given.get("audience") or given["issuer"]
    return Settings(**given)


def origins_of_settings(environment: Mapping[str, str], config: Path | None) -> dict[str, str]:
    """Where the value of each setting comes from: a variable, a file, or the defaults.

    Raises:
        ConfigurationError: a setting is unknown, or the file cannot be read.
    """
    given = _given_texts(environment, config)
    return {name: given[name][1] if name in given else "default" for name in _TABLE}


def _given_texts(environment: Mapping[str, str], config: Path | None) -> dict[str, tuple[str, str]]:
    """The texts of those settings that were given, and what to call the places they are from."""
    given: dict[str, tuple[str, str]] = {}
    if config is not None:
        for name, value in _read_toml(config).items():
            label = f"{name} in {config}"
            _check_known(name, _TABLE, label)
            given[name] = _from_toml(name, value, label), label
    names = {variable(name): name for name in _TABLE}
    for label, text in environment.items():
        if label.startswith(_PREFIX) and not _OF_KUBERNETES.fullmatch(f"{label}={text}"):
            _check_known(label, names, label)
            given[names[label]] = text, label
    return given


def shown_settings(settings: Settings) -> dict[str, str]:
    """The values by name, as texts to be looked at: of what is secret only that it is set."""
    return {
        field.name: _as_text(getattr(settings, field.name))
        if field.repr
        else _hidden(getattr(settings, field.name))
        for field in dataclasses.fields(Settings)
    }


def _hidden(value: Any) -> str:
    return "(hidden)" if value else ""


def _read_toml(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError("--config", f"cannot read {config}: {error.strerror}") from None
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigurationError("--config", f"{config} is not TOML: {error}") from None


def _from_toml(name: str, value: Any, label: str) -> str:
    """As the environment would have it."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, bool):
        return _as_text(value)
    if isinstance(value, str | int):
        return str(value)
    if _TABLE[name].read is _seconds:
        raise ConfigurationError(label, _NO_SECONDS)
    raise ConfigurationError(label, "must be text, a whole number, true, false or a list of texts")


def _check_known(name: str, names: Collection[str], label: str) -> None:
    if name not in names:
        guess = _guess(name, names) or "; `keyturn serve --help` lists them"
        raise ConfigurationError(label, f"there is no such setting{guess}")


def _guess(name: str, names: Collection[str]) -> str:
    """By what tells them apart: all begin alike, or none."""
    short = {each.removeprefix(_PREFIX): each for each in names}
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), short, n=1, cutoff=0.65)
    return f"; did you mean {short[close[0]]}?" if close else ""


def _read(name: str, text: str, label: str) -> Any:
    try:
        return _TABLE[name].read(text)
    except ValueError as error:
        raise ConfigurationError(label, str(error)) from None


def is_setting(name: str) -> bool:
    """Whether there is a setting of this name."""
    return name in _TABLE


def variable(name: str) -> str:
    """How a setting is called in the environment."""
    return _PREFIX + name.upper()


def _default_data_dir(environment: Mapping[str, str]) -> Path:
    if state := environment.get("STATE_DIRECTORY", ""):
        return Path(state.split(":")[0])
    if data := environment.get("XDG_DATA_HOME", ""):
        return Path(data) / "keyturn"
    try:
        return Path.home() / ".local/share/keyturn"
    except RuntimeError:
        raise ConfigurationError(variable("data_dir"), "must be set: there is no home") from None


# ── rules that join two settings ────────────────────────────────────────────────────────────────


def check_binding(settings: Settings, host: str) -> None:
    """Refuse to listen on ``host`` where cookies would travel in the clear.

    Raises:
        ConfigurationError: ``host`` is not loopback, and the public URL is not https, or cookies
            are to go over plain http.
    """
    if is_loopback(host):
        return
    if settings.cookie_insecure_http:
        raise ConfigurationError(
            variable("cookie_insecure_http"), f"is refused with --host {host}: only on loopback"
        )
    if not settings.public_url.startswith("https://"):
        raise ConfigurationError(
            variable("public_url"),
            f"must be the https:// URL that users see, as --host {host} is not loopback",
        )


def unknown_proxy(settings: Settings) -> str:
    """What to change where the proxy that speaks https is not named, so that all requests seem to
    come from its address; empty if all is well.
    """
    if settings.trusted_proxies or not settings.public_url.startswith("https://"):
        return ""
    return (
        f"{variable('trusted_proxies')} is not set, though {variable('public_url')} is https:"
        " set it to the addresses of your proxy; until then every user seems to come from the"
        " proxy, and all share one count of failed logins"
    )
