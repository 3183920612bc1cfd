"""What the contenders in Python share: how they are seeded, gunicorn, and Django itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .model import PASSWORD

__all__ = ["DJANGO", "GUNICORN", "PSYCOPG", "SEED", "gunicorn"]

SEED: Final = ("{bin}/python", "{app}", "{count}", "{folder}", PASSWORD)

PSYCOPG: Final = ("psycopg==3.3.9", "psycopg-binary==3.3.9", "typing-extensions==4.16.0")
GUNICORN: Final = ("gunicorn==27.0.1",)
DJANGO: Final = ("Django==5.2.19", "asgiref==3.13.0", "sqlparse==0.6.1", *PSYCOPG, *GUNICORN)


def gunicorn(module: str) -> Sequence[str]:
    """The command that serves the ``application`` of a module in ``applications``."""
    return (
        "{bin}/gunicorn", "--chdir", "{programs}", "--bind", "127.0.0.1:{port}",
        "--workers", "{workers}", "--worker-class", "gthread", "--threads", "4",
        "--log-level", "error", "--no-control-socket", f"{module}:application",
    )  # fmt: skip
