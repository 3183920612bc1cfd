"""django-oauth-toolkit, with a public client: as it comes, with no grace for a rotated token and no
reuse protection; with that protection, by which a token that comes back ends its session; and with
ten seconds of grace besides, in which it repeats its answer.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote_plus

from .model import PASSWORD, Ask, Contender, Packages
from .python import DJANGO, SEED, gunicorn

__all__ = ["OAUTH_TOOLKIT", "OAUTH_TOOLKIT_PROTECTED", "OAUTH_TOOLKIT_WITH_GRACE"]

_FORM: Final = ("Content-Type: application/x-www-form-urlencoded",)


def _contender(name: str, *, protected: bool = True, grace_seconds: int = 0) -> Contender:
    return Contender(
        name=name,
        design="opaque tokens; a check looks up the token, its client and its user; an exchange "
        "locks and revokes the refresh token, deletes the access token, and adds two rows",
        packages=_PACKAGES,
        application="django_oauth_toolkit.py",
        seed=SEED,
        serve=gunicorn("django_oauth_toolkit"),
        asks=_ASKS,
        environment={
            "REUSE_PROTECTION": "1" if protected else "",
            "GRACE_SECONDS": str(grace_seconds),
        },
    )


_PACKAGES: Final = Packages(
    "pip",
    (
        *DJANGO,
        "django-oauth-toolkit==3.4.1",
        "oauthlib==4.0.1",
        "jwcrypto==1.6.1",
        "cryptography==50.0.2",
        "cffi==2.1.1",
        "pycparser==3.12",
        "requests==2.34.2",
        "certifi==2026.10.19.post1",
        "charset-normalizer==3.5.3",
        "idna==3.20",
        "urllib3==2.8.0",
    ),
)

_ASKS: Final = {
    "exchange": Ask(
        "POST",
        "/o/token/",
        _FORM,
        "grant_type=refresh_token&client_id=bench&refresh_token={token}",
        next_after='"refresh_token": "',
    ),
    "check": Ask("GET", "/me", ("Authorization: Bearer {token}",), presents="access"),
    "login": Ask(
        "POST",
        "/o/token/",
        _FORM,
        f"grant_type=password&client_id=bench&username={{token}}&password={quote_plus(PASSWORD)}",
        presents="name",
    ),
    "logout": Ask(
        "POST",
        "/o/revoke_token/",
        _FORM,
        "client_id=bench&token={token}&token_type_hint=refresh_token",
    ),
}

OAUTH_TOOLKIT: Final = _contender("django-oauth-toolkit", protected=False)
OAUTH_TOOLKIT_PROTECTED: Final = _contender("django-oauth-toolkit, reuse protection")
OAUTH_TOOLKIT_WITH_GRACE: Final = _contender(
    "django-oauth-toolkit, reuse protection, 10 s of grace", grace_seconds=10
)
