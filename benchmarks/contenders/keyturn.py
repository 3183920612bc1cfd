"""Keyturn with everything on: both cookies, the check of where a request comes from, events,
metrics. The retry window is 0, so that each exchange is a turn, as is one that comes minutes after
the last one.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from .model import PASSWORD, Ask, Contender

__all__ = ["IN_WINDOW", "KEYTURN", "MORE_TOKENS", "NEW_TOKENS", "STORM", "WITH_RETRIES"]

_URL: Final = "https://keyturn.example.com"
_FROM_PAGE: Final = f"Origin: {_URL}"
_JSON: Final = "Content-Type: application/json"

_ASKS: Final = {
    "exchange": Ask(
        method="POST",
        path="/refresh-token",
        headers=[
            _FROM_PAGE,
            "Sec-Fetch-Site: same-origin",
            "Cookie: theme=dark; __Host-refreshToken={token}",
        ],
        next_after='"refreshToken":"',
    ),
    "check": Ask("GET", "/me", ["Authorization: Bearer {token}"], presents="access"),
    "login": Ask(
        method="POST",
        path="/login",
        headers=[_FROM_PAGE, "Sec-Fetch-Site: same-origin", _JSON],
        body=f'{{"username":"{{token}}","password":"{PASSWORD}"}}',
        presents="name",
    ),
    "logout": Ask("POST", "/logout", ["Authorization: Bearer {token}"], presents="access"),
}

_ENVIRONMENT: Final = {
    "KEYTURN_PUBLIC_URL": _URL,
    "KEYTURN_SECRET": "a-secret-of-the-benchmarks-and-of-nobody-else",
    "KEYTURN_RETRY_WINDOW": "0",
    "KEYTURN_METRICS_TOKEN": "a-token-of-the-benchmarks-and-of-nobody-else",
    "KEYTURN_TOKENS_IN_BODY": "always",
    "KEYTURN_LOG_LEVEL": "error",
}

_OWN_SERVER: Final = (
    "{bin}/python",
    "{app}",
    "serve",
    "--port",
    "{port}",
    "--workers",
    "{workers}",
)
_GRANIAN: Final = (
    "{bin}/granian", "--interface=asgi", "--loop=uvloop", "--host=127.0.0.1", "--port={port}",
    "--workers={workers}", "--no-ws", "--log-level=error", "--working-dir={programs}",
    "keyturn_here:app",
)  # fmt: skip


def _keyturn(
    database: Literal["postgresql", "sqlite"], server: str, command: tuple[str, ...]
) -> Contender:
    where = "PostgreSQL" if database == "postgresql" else "SQLite, synchronous=FULL"
    return Contender(
        name=f"Keyturn, {where.partition(',')[0]}, {server}",
        design=f"ES256, one row for a session, {where}",
        packages=None,
        application="keyturn_here.py",
        seed=("{bin}/python", "{app}", "seed", "{count}", "{folder}"),
        serve=command,
        asks=_ASKS,
        environment=_ENVIRONMENT,
        workers=(1, 2),
        database=database,
    )


KEYTURN: Final = tuple(
    _keyturn(database, server, command)
    for database in ("postgresql", "sqlite")
    for server, command in (("uvicorn", _OWN_SERVER), ("granian", _GRANIAN))
)

IN_WINDOW: Final = msgspec.structs.replace(
    KEYTURN[0],
    name="Keyturn, repeated in the window",
    design="an exchange that writes nothing, as one has been made just before",
    asks={"exchange": _ASKS["exchange"]},
    environment={**_ENVIRONMENT, "KEYTURN_RETRY_WINDOW": "3600"},
    workers=(1,),
)

STORM: Final = msgspec.structs.replace(
    IN_WINDOW,
    name="Keyturn, a storm in the window",
    design="the same, but of a few sessions, again and again within a second",
    sessions=600,
)
"""More sessions than connections, as no two requests present one token at once, and each load ends
with as many as are lost.
"""

MORE_TOKENS: Final = msgspec.structs.replace(
    KEYTURN[0],
    name="Keyturn, tokens of 4 000 users",
    design="the same check, of all tokens that were seeded",
    asks={"check": _ASKS["check"]},
    workers=(1,),
    access_tokens=None,
)

NEW_TOKENS: Final = msgspec.structs.replace(
    MORE_TOKENS,
    name="Keyturn, tokens never seen before",
    design="the same check, of tokens that are presented once: each signature is checked",
    asks={"check": msgspec.structs.replace(_ASKS["check"], once=True)},
    seed=("{bin}/python", "{app}", "sign", "{count}", "{folder}"),
    sessions=150_000,
    connections=(32,),
)
"""As many tokens as are presented in nine seconds by a machine that is twice as fast as most."""

_AS_NOBODY_SET_IT: Final = {
    name: value for name, value in _ENVIRONMENT.items() if name != "KEYTURN_RETRY_WINDOW"
}
WITH_RETRIES: Final = msgspec.structs.replace(
    KEYTURN[0], name="Keyturn", environment=_AS_NOBODY_SET_IT
)
"""With the retry window that it has where nobody sets another: 30 s."""
