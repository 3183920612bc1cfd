"""What a contender is: how it is installed, seeded, started, and asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

__all__ = ["ACCESS_TOKENS", "PASSWORD", "Ask", "Contender", "Packages"]

PASSWORD = "correct horse battery"
"""Of every user that is seeded, hashed as cheaply as the contender can: that is measured apart."""

ACCESS_TOKENS = 1000
"""So many are presented again and again, each of another user, where nothing else is said."""


class Packages(msgspec.Struct, frozen=True):
    """What is installed from PyPI or npm, each as ``name==version``, into a folder of its own."""

    registry: Literal["pip", "npm"]
    packages: Sequence[str]


class Ask(msgspec.Struct, frozen=True):
    """A request. In ``path``, ``headers`` and ``body``, ``{token}`` is the token or name of a
    session, ``{port}`` the port.
    """

    method: str
    path: str
    headers: Sequence[str] = ()
    """Each ``Name: value``. Host and Content-Length are put in by whoever asks."""
    body: str = ""
    presents: Literal["refresh", "access", "name"] = "refresh"
    """Which of the seeded files the tokens come from."""
    next_after: str = ""
    """What precedes the next token in the body of the answer, up to a quotation mark; empty where
    the same one goes on being good.
    """
    refused_with: str = ""
    """The body of a 2xx answer that refuses all the same, where there is such a one."""
    done_with: int | None = None
    """The status that tells of success, where it is none of 2xx."""
    once: bool = False
    """Whether no token is presented a second time, though it would be good. Who runs out of them is
    refused.
    """


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One design, as a program of its own.

    Its program is called twice with ``DATABASE_URL`` (and ``KEYTURN_DATABASE_URL``) in the
    environment, a new and empty database. In commands, ``{bin}`` is the folder with the
    environment's programs, ``{app}`` the program of ``applications``, ``{programs}`` the folder
    that it is in, ``{folder}`` another for its files.

    ``seed`` is given ``{count}``: it makes the tables, so many users with the
    names ``user0@example.com`` and on, a session for each, and the files ``refresh``, ``access``
    and ``name`` in that folder, with one line for each session.

    ``serve`` is given ``{port}`` and ``{workers}``: it serves on 127.0.0.1 until SIGTERM.
    """

    name: str
    design: str
    """In a few words: what signs, what is looked up, what is written."""
    packages: Packages | None
    """None: it is installed where the benchmarks run."""
    application: str
    """The file in ``applications``."""
    seed: Sequence[str]
    serve: Sequence[str]
    asks: Mapping[str, Ask]
    """By what is asked: ``exchange``, ``check`` (an authenticated request), ``login``, ``logout``
    (which presents an access or a refresh token, as the contender has it). What it does not offer
    is not there.
    """
    environment: Mapping[str, str] = {}
    workers: Sequence[int] = (1,)
    sessions: int | None = None
    """How many are asked about, if not as many as of all."""
    access_tokens: int | None = ACCESS_TOKENS
    """How many of those that are seeded are presented; None: all of them."""
    connections: Sequence[int] = (32, 1, 256)
    """So many ask, of all that do, where there is one worker."""
    database: Literal["postgresql", "sqlite"] = "postgresql"
