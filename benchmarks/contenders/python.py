"""What the contenders in Python share: how a program is called, and what Django is made of."""

from __future__ import annotations

from typing import Final

from .model import PASSWORD

__all__ = ["DJANGO", "GUNICORN", "PSYCOPG", "SEED", "SERVE"]

SEED: Final = ("{bin}/python", "{app}", "seed", "{count}", "{folder}", PASSWORD)
SERVE: Final = ("{bin}/python", "{app}", "serve", "{port}", "{workers}")

PSYCOPG: Final = ("psycopg==3.3.9", "psycopg-binary==3.3.9", "typing-extensions==4.16.0")
GUNICORN: Final = ("gunicorn==27.0.1",)
DJANGO: Final = ("Django==5.2.19", "asgiref==3.13.0", "sqlparse==0.6.1", *PSYCOPG, *GUNICORN)
