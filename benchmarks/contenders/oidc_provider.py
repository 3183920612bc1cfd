"""oidc-provider: the refresh tokens of OAuth, which rotate. One that comes back ends its grant.

It offers no login with a password, and to check its JWTs is left to whoever receives them. What
it checks itself, at its userinfo endpoint, are opaque access tokens: ``check`` presents such ones.
"""

from __future__ import annotations

from .model import Ask, Contender, Packages

__all__ = ["CONTENDER"]

_FORM = ["Content-Type: application/x-www-form-urlencoded"]
_CLIENT = "client_id=benchmark&client_secret=a+secret+that+the+client+shares"

CONTENDER = Contender(
    name="oidc-provider",
    design="ES256 access tokens; an exchange reads the refresh token and its grant, marks the "
    "token as used, and inserts another",
    packages=Packages("npm", ("oidc-provider==9.13.3", "pg==8.23.1")),
    application="oidc_provider.mjs",
    seed=("node", "{app}", "seed", "{count}", "{folder}"),
    serve=("node", "{app}", "serve", "{port}", "{workers}"),
    asks={
        "exchange": Ask(
            "POST",
            "/token",
            headers=_FORM,
            body=f"grant_type=refresh_token&refresh_token={{token}}&{_CLIENT}",
            next_after='"refresh_token":"',
        ),
        "check": Ask("GET", "/me", headers=["Authorization: Bearer {token}"], presents="access"),
        "logout": Ask(
            "POST",
            "/token/revocation",
            headers=_FORM,
            body=f"token={{token}}&token_type_hint=refresh_token&{_CLIENT}",
        ),
    },
    environment={"NODE_ENV": "production"},
)
