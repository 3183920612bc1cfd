"""The design of most tutorials: two JWTs, of which the user's row holds the refresh token.

Whoever presents another than the one that was saved last is refused, and nobody is told. Twice, as
it is usually written and as well as it can be: each time with one read and one write an exchange.
The tokens carry nothing but the user and the second: of one second, all that a user has are alike.
"""

from __future__ import annotations

import json

import msgspec

from .model import PASSWORD, Ask, Contender, Packages

__all__ = ["AS_WRITTEN", "TUNED"]

_JSON = ["Content-Type: application/json"]
_AUTHORIZATION = ["Authorization: Bearer {token}"]

AS_WRITTEN = Contender(
    name="Express, as in tutorials",
    design="two HS256 JWTs; an exchange reads the user's row, and writes the new token into it",
    packages=Packages(
        "npm", ("cookie-parser==1.4.7", "express==5.3.0", "jsonwebtoken==9.0.3", "pg==8.23.1")
    ),
    application="classic.mjs",
    seed=("node", "{app}", "seed", "{count}", "{folder}"),
    serve=("node", "{app}", "serve", "{port}", "{workers}"),
    asks={
        "exchange": Ask(
            "POST",
            "/refresh-token",
            headers=_JSON,
            body=json.dumps({"refreshToken": "{token}"}),
            next_after='"refreshToken":"',
        ),
        "check": Ask("GET", "/me", headers=_AUTHORIZATION, presents="access"),
        "login": Ask(
            "POST",
            "/login",
            headers=_JSON,
            body=json.dumps({"email": "{token}", "password": PASSWORD}),
            presents="name",
        ),
        "logout": Ask("POST", "/logout", headers=_AUTHORIZATION, presents="access"),
    },
    environment={"NODE_ENV": "production"},
)

TUNED = msgspec.structs.replace(
    AS_WRITTEN,
    name="Express, tuned",
    design=f"{AS_WRITTEN.design}; prepared statements, prepared keys",
    environment={**AS_WRITTEN.environment, "TUNED": "1"},
    workers=(1, 2),
)
