"""better-auth: an opaque token in a signed cookie, and the row of a session behind it.

The token is never rotated. What stands for an exchange is the renewal of the row, which comes with
a request that is made ``updateAge`` seconds after the last one.
"""

from __future__ import annotations

import json

import msgspec

from .model import PASSWORD, Ask, Contender, Packages

__all__ = ["CHECKING", "RENEWING"]

_COOKIE = "Cookie: better-auth.session_token={token}"
_ORIGIN = "Origin: http://127.0.0.1:{port}"
_JSON = "Content-Type: application/json"

_GET_SESSION = Ask("GET", "/api/auth/get-session", headers=[_COOKIE], refused_with="null")

CHECKING = Contender(
    name="better-auth",
    design="an opaque token in a signed cookie; a check reads the session and its user",
    packages=Packages("npm", ("better-auth==1.7.25", "pg==8.23.1")),
    application="better_auth.mjs",
    seed=("node", "{app}", "seed", "{count}", "{folder}"),
    serve=("node", "{app}", "serve", "{port}", "{workers}"),
    asks={
        "check": msgspec.structs.replace(_GET_SESSION, presents="access"),
        "login": Ask(
            "POST",
            "/api/auth/sign-in/email",
            headers=[_JSON, _ORIGIN],
            body=json.dumps({"email": "{token}", "password": PASSWORD}),
            presents="name",
        ),
        "logout": Ask(
            "POST",
            "/api/auth/sign-out",
            headers=[_JSON, _ORIGIN, _COOKIE],
            body="{}",
            presents="access",
        ),
    },
    environment={"NODE_ENV": "production", "UPDATE_AGE": str(24 * 60 * 60)},
)

RENEWING = msgspec.structs.replace(
    CHECKING,
    name="better-auth, renewing",
    design="an opaque token in a signed cookie; an exchange reads the session and its user, and "
    "renews the session's row",
    asks={"exchange": _GET_SESSION},
    environment={**CHECKING.environment, "UPDATE_AGE": "0"},
)
