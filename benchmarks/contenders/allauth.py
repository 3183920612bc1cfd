"""django-allauth, headless, for apps, with its JWT tokens."""

from __future__ import annotations

from typing import Final

import msgspec

from .model import PASSWORD, Ask, Contender, Packages
from .python import DJANGO, SEED, gunicorn

__all__ = ["ALLAUTH", "ALLAUTH_STATEFUL"]

_JSON: Final = ("Content-Type: application/json",)
_BEARER: Final = ("Authorization: Bearer {token}",)

ALLAUTH: Final = Contender(
    name="django-allauth, headless",
    design="HS256; a check loads the user; an exchange reads and rewrites Django's session",
    packages=Packages(
        "pip",
        (
            *DJANGO,
            "django-allauth==65.22.1",
            "djangorestframework==3.18.3",
            "PyJWT==2.15.1",
            "cryptography==50.0.2",
            "cffi==2.1.1",
            "pycparser==3.12",
        ),
    ),
    application="django_allauth.py",
    seed=SEED,
    serve=gunicorn("django_allauth"),
    environment={"STATEFUL": ""},
    asks={
        "exchange": Ask(
            "POST",
            "/_allauth/app/v1/tokens/refresh",
            _JSON,
            '{"refresh_token":"{token}"}',
            next_after='"refresh_token": "',
        ),
        "check": Ask("GET", "/me", _BEARER, presents="access"),
        "login": Ask(
            "POST",
            "/_allauth/app/v1/auth/login",
            _JSON,
            f'{{"username":"{{token}}","password":"{PASSWORD}"}}',
            presents="name",
        ),
        # Answered by 401 where it succeeds: whoever asks is not signed in any more.
        "logout": Ask(
            "DELETE", "/_allauth/app/v1/auth/session", _BEARER, presents="access", done_with=401
        ),
    },
)

ALLAUTH_STATEFUL: Final = msgspec.structs.replace(
    ALLAUTH,
    name="django-allauth, headless, stateful validation",
    design=f"{ALLAUTH.design}; a check looks up Django's session, too",
    environment={"STATEFUL": "1"},
)
