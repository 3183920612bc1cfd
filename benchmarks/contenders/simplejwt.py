"""Django REST framework with simplejwt and its blacklist."""

from __future__ import annotations

from typing import Final

from .model import PASSWORD, Ask, Contender, Packages
from .python import DJANGO, SEED, gunicorn

__all__ = ["SIMPLEJWT"]

_JSON: Final = ("Content-Type: application/json",)

SIMPLEJWT: Final = Contender(
    name="Django REST framework, simplejwt",
    design="HS256; a check loads the user; an exchange adds a row to the outstanding tokens, and "
    "one to the blacklist",
    packages=Packages(
        "pip",
        (
            *DJANGO,
            "djangorestframework==3.18.3",
            "djangorestframework-simplejwt==5.5.1",
            "PyJWT==2.15.1",
        ),
    ),
    application="django_simplejwt.py",
    seed=SEED,
    serve=gunicorn("django_simplejwt"),
    asks={
        "exchange": Ask(
            "POST", "/token/refresh/", _JSON, '{"refresh":"{token}"}', next_after='"refresh":"'
        ),
        "check": Ask("GET", "/me", ("Authorization: Bearer {token}",), presents="access"),
        "login": Ask(
            "POST",
            "/token/",
            _JSON,
            f'{{"username":"{{token}}","password":"{PASSWORD}"}}',
            presents="name",
        ),
        "logout": Ask("POST", "/token/blacklist/", _JSON, '{"refresh":"{token}"}'),
    },
)
