"""Flask with flask-jwt-extended and the blocklist of its documentation, in the database."""

from __future__ import annotations

from typing import Final

from .model import PASSWORD, Ask, Contender, Packages
from .python import GUNICORN, PSYCOPG, SEED, gunicorn

__all__ = ["FLASK_JWT"]

_BEARER: Final = ("Authorization: Bearer {token}",)

FLASK_JWT: Final = Contender(
    name="Flask, flask-jwt-extended",
    design="HS256; a check looks into the blocklist and loads the user; an exchange adds a row to "
    "the blocklist",
    packages=Packages(
        "pip",
        (
            "Flask==3.1.3",
            "Flask-JWT-Extended==4.7.4",
            "Flask-SQLAlchemy==3.1.1",
            "PyJWT==2.15.1",
            "SQLAlchemy==2.1.9",
            "Werkzeug==3.1.9",
            "Jinja2==3.1.6",
            "MarkupSafe==3.0.4",
            "blinker==1.9.0",
            "click==8.5.1",
            "itsdangerous==2.2.0",
            *PSYCOPG,
            *GUNICORN,
        ),
    ),
    application="flask_jwt.py",
    seed=SEED,
    serve=gunicorn("flask_jwt"),
    asks={
        "exchange": Ask("POST", "/refresh", _BEARER, next_after='"refresh_token":"'),
        "check": Ask("GET", "/me", _BEARER, presents="access"),
        "login": Ask(
            "POST",
            "/login",
            ("Content-Type: application/json",),
            f'{{"name":"{{token}}","password":"{PASSWORD}"}}',
            presents="name",
        ),
        "logout": Ask("DELETE", "/logout", _BEARER, presents="access"),
    },
)
