"""Imports point one way, the core is pure and small, and the clock is named in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

ORDER = [
    {"core", "_version"},
    {"checking", "coalesce", "complaints", "devices", "feed", "flight", "hosts", "jwks"}
    | {"observing", "staleness", "stores"},
    {"following", "hooks", "signing_keys"},
    {"sessions"},
    {"accounts"},
    {"wire"},
    {"integrations"},
    {"server"},
    {"cli"},
    {"__main__"},
]
"""A room imports from rooms above it in this list and from itself, from no other."""

RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
PUBLIC_NAMES = "keyturn"
"""The package's own ``__init__``: it imports what it shows, and nothing inside imports it."""

PURE_STDLIB = {
    "__future__",
    "binascii",
    "collections",
    "enum",
    "hashlib",
    "hmac",
    "re",
    "typing",
}
PURE_THIRD_PARTY = {"cryptography", "msgspec"}

CLOCKS_AND_CHANCE = {"time", "secrets", "random", "uuid"}
WITHOUT_CLOCK = {"core", "coalesce", "complaints", "feed", "hosts", "jwks", "staleness", "stores"}
WITHOUT_CLOCK |= {"checking", "devices", "flight", "observing", "signing_keys", "accounts", "wire"}
EXCEPTIONS = {
    ("keyturn.accounts.service", "secrets"): "makes the ids of users",
    ("keyturn.stores.sqlite.engine", "time"): "measures how long a job has waited",
    ("keyturn.stores.sqlite.opening", "time"): "sleeps between tries; reads no clock",
}

MOST_CORE_LINES = 1000


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; a package by ``name.__init__``."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
        for path in SOURCE.glob("keyturn/**/*.py")
    }


def imports(module: str, source: str) -> Iterator[str]:
    """What the module imports, as dotted names, wherever in it."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The room of a dotted name of ours; the package's own ``__init__`` is a room by itself."""
    rest = module.removeprefix("keyturn").removeprefix(".").removesuffix("__init__")
    return rest.partition(".")[0] or PUBLIC_NAMES


def faults(module: str, source: str) -> list[str]:
    """What the module imports, or calls, and must not."""
    room = room_of(module)
    imported = list(imports(module, source))
    ours = [name for name in imported if name.partition(".")[0] == "keyturn"]
    others = {name.partition(".")[0] for name in imported} - {"keyturn"}
    wrong = [name for name in ours if not may_import(room, room_of(name))]
    if room == "core":
        wrong += others - PURE_STDLIB - PURE_THIRD_PARTY
    if room in WITHOUT_CLOCK:
        named = {name for name in others & CLOCKS_AND_CHANCE if (module, name) not in EXCEPTIONS}
        wrong += [*named - set(wrong), *clock_readings(source)]
    return wrong


def may_import(room: str, other: str) -> bool:
    if room == PUBLIC_NAMES:
        return other in RANK and RANK[other] <= RANK["sessions"]
    return other in RANK and (room == other or RANK[other] < RANK[room])


def clock_readings(source: str) -> list[str]:
    """``datetime`` may write a time that it is given; it may not ask what time it is."""
    asked = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.urandom"}
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in asked
    ]


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_what_its_room_may(module: str) -> None:
    """Downwards only; the core nothing but itself; no clock and no chance where none belongs."""
    assert faults(module, modules()[module].read_text()) == []


def test_every_module_is_in_a_room() -> None:
    """A new one is given its place in the order first."""
    assert {room_of(module) for module in modules()} - {PUBLIC_NAMES} <= RANK.keys()


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        (
            "keyturn.core.model",
            "from keyturn.sessions import Sessions",
            "keyturn.sessions.Sessions",
        ),
        ("keyturn.core.model", "from ..stores import base", "keyturn.stores.base"),
        ("keyturn.core.model", "from .. import sessions", "keyturn.sessions"),
        ("keyturn.core.__init__", "from ..stores import base", "keyturn.stores.base"),
        ("keyturn.core.model", "from keyturn._version import v", "keyturn._version.v"),
        ("keyturn.core.model", "import apsw", "apsw"),
        ("keyturn.core.model", "import time", "time"),
        ("keyturn.core.model", "from datetime import datetime", "datetime"),
        ("keyturn.core.model", "import os.path", "os"),
        ("keyturn.core.model", "import asyncio", "asyncio"),
        ("keyturn.core.model", "def f():\n    import socket", "socket"),
        ("keyturn.core.model", "if TYPE_CHECKING:\n    import pathlib", "pathlib"),
        ("keyturn.stores.base", "from keyturn import coalesce", "keyturn.coalesce"),
        ("keyturn.coalesce", "from .stores import base", "keyturn.stores.base"),
        (
            "keyturn.stores.sqlite.store",
            "from ...sessions import Sessions",
            "keyturn.sessions.Sessions",
        ),
        ("keyturn.signing_keys", "from .sessions import Sessions", "keyturn.sessions.Sessions"),
        ("keyturn.sessions", "import keyturn.accounts.service", "keyturn.accounts.service"),
        ("keyturn.accounts.service", "from keyturn.wire import http", "keyturn.wire.http"),
        ("keyturn.wire.http", "from keyturn.server import app", "keyturn.server.app"),
        ("keyturn.integrations.asgi", "from keyturn.server import app", "keyturn.server.app"),
        ("keyturn.server.app", "import keyturn.cli", "keyturn.cli"),
        ("keyturn.wire.http", "import keyturn", "keyturn"),
        ("keyturn.wire.http", "from keyturn import Sessions", "keyturn.Sessions"),
        ("keyturn.__init__", "from .accounts import Accounts", "keyturn.accounts.Accounts"),
        ("keyturn.wire.http", "import time as t", "time"),
        ("keyturn.accounts.throttle", "from secrets import token_bytes", "secrets"),
        ("keyturn.stores.memory", "import random", "random"),
        ("keyturn.stores.memory", "now = datetime.now(UTC)", "datetime.now"),
        ("keyturn.wire.http", "now = datetime.datetime.utcnow()", "datetime.datetime.utcnow"),
        ("keyturn.stores.memory", "salt = os.urandom(16)", "os.urandom"),
    ],
)
def test_a_planted_fault_is_found(module: str, line: str, fault: str) -> None:
    """The check can fail, in each of its parts."""
    assert faults(module, line) == [fault]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("keyturn.core.model", "from .errors import KeyturnError\nfrom . import base64url"),
        (
            "keyturn.core.keyring",
            "from cryptography.hazmat.primitives import hashes\nimport msgspec",
        ),
        ("keyturn.stores.sqlite.__init__", "from .store import SQLiteStore\nimport threading"),
        ("keyturn.sessions", "import time, secrets\nfrom .stores.base import Store"),
        ("keyturn.wire.http", "from keyturn.accounts import Accounts\nfrom .cookies import read"),
        ("keyturn.wire.http", "when = datetime.fromtimestamp(at, UTC)"),
        ("keyturn.cli", "from keyturn._version import __version__\nimport keyturn.server.app"),
        ("keyturn.__init__", "from .sessions import Sessions\nfrom .core.model import Claims"),
    ],
)
def test_what_is_allowed_is_no_fault(module: str, line: str) -> None:
    """The check does not refuse what the design draws."""
    assert faults(module, line) == []


@pytest.mark.parametrize(("module", "name"), EXCEPTIONS)
def test_no_exception_outlives_its_reason(module: str, name: str) -> None:
    """An allowance that nobody needs any more is dropped."""
    assert name in imports(module, modules()[module].read_text())


def test_the_pure_names_are_of_the_standard_library() -> None:
    """What the core may import besides cryptography and msgspec comes with Python."""
    assert sys.stdlib_module_names >= PURE_STDLIB


def test_the_core_can_be_read_in_one_sitting() -> None:
    """Under 1 000 lines with docstrings, blank ones not counted."""
    lines = sum(
        bool(line.strip())
        for path in SOURCE.glob("keyturn/core/*.py")
        for line in path.read_text().splitlines()
    )

    assert lines < MOST_CORE_LINES
