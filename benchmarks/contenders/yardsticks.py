"""No contenders, but what they are held against: servers that answer as much and know nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from .model import Ask, Contender

__all__ = ["ECHO", "TWO_STATEMENTS"]

_SERVER: Final = (
    "{bin}/python", "-m", "uvicorn", "--app-dir={programs}", "--port={port}", "--loop=uvloop",
    "--http=httptools", "--no-access-log", "--log-level=error", "--workers={workers}",
)  # fmt: skip

TWO_STATEMENTS: Final = Contender(
    name="(a bare echo, one SELECT, one UPDATE)",
    design="nothing is checked or signed; two statements for each exchange",
    packages=None,
    application="two_statements.py",
    seed=("{bin}/python", "{app}", "seed", "{count}", "{folder}"),
    serve=(*_SERVER, "two_statements:app"),
    asks={
        "exchange": Ask(
            method="POST",
            path="/refresh-token",
            headers=["Content-Type: application/json"],
            body='{"refreshToken":"{token}"}',
            next_after='"refreshToken":"',
        ),
    },
)

ECHO: Final = msgspec.structs.replace(
    TWO_STATEMENTS,
    name="(a bare echo)",
    design="nothing is checked, signed or kept",
    serve=(*_SERVER, "echo:app"),
    asks={
        **TWO_STATEMENTS.asks,
        "check": Ask("GET", "/me", ["Authorization: Bearer {token}"], presents="access"),
    },
)
