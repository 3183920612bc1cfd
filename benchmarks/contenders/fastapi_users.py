"""FastAPI with fastapi-users, by each of its two strategies. It has no refresh tokens."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote_plus

from .model import PASSWORD, Ask, Contender, Packages
from .python import SEED

__all__ = ["FASTAPI_USERS_DATABASE", "FASTAPI_USERS_JWT"]


def _contender(strategy: str, design: str) -> Contender:
    bearer = ("Authorization: Bearer {token}",)
    return Contender(
        name=f"FastAPI, fastapi-users, {strategy}",
        design=design,
        packages=_PACKAGES,
        application="fastapi_with_users.py",
        seed=SEED,
        serve=_UVICORN,
        environment={"STRATEGY": strategy},
        asks={
            "check": Ask("GET", "/me", bearer, presents="access"),
            "login": Ask(
                "POST",
                "/login",
                ("Content-Type: application/x-www-form-urlencoded",),
                f"username={{token}}&password={quote_plus(PASSWORD)}",
                presents="name",
            ),
            "logout": Ask("POST", "/logout", bearer, presents="access"),
        },
    )


_UVICORN: Final = (
    "{bin}/uvicorn", "--app-dir", "{programs}", "--host", "127.0.0.1", "--port", "{port}",
    "--workers", "{workers}", "--loop", "uvloop", "--http", "httptools",
    "--log-level", "error", "--no-access-log", "fastapi_with_users:application",
)  # fmt: skip
_PACKAGES: Final = Packages(
    "pip",
    (
        "fastapi==0.165.0",
        "annotated-doc==0.0.7",
        "annotated-types==0.8.0",
        "anyio==4.16.0",
        "argon2-cffi==25.1.0",
        "argon2-cffi-bindings==26.2.0",
        "asyncpg==0.32.0",
        "bcrypt==5.0.0",
        "cffi==2.1.1",
        "click==8.5.1",
        "cryptography==50.0.2",
        "dnspython==2.9.2",
        "email-validator==2.3.0",
        "fastapi-users==15.0.5",
        "fastapi-users-db-sqlalchemy==7.0.0",
        "greenlet==3.5.6",
        "h11==0.16.0",
        "httptools==0.9.0",
        "idna==3.20",
        "makefun==1.16.0",
        "opentelemetry-api==1.45.2",
        "pwdlib==0.3.0",
        "pycparser==3.12",
        "pydantic==2.14.4",
        "pydantic-core==2.50.5",
        "PyJWT==2.15.1",
        "python-multipart==0.0.34",
        "SQLAlchemy==2.0.58",
        "starlette==1.10.0",
        "typing-extensions==4.16.0",
        "typing-inspection==0.4.5",
        "uvicorn==0.54.0",
        "uvloop==0.23.0",
    ),
)

FASTAPI_USERS_JWT: Final = _contender("jwt", "HS256; a check loads the user; a logout does nothing")
FASTAPI_USERS_DATABASE: Final = _contender(
    "database", "opaque tokens; a check looks up the token, then the user; a logout deletes the row"
)
