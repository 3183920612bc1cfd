"""Every public name is intended, and says what it is."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import keyturn

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {str(path.relative_to(SOURCE)): path for path in SOURCE.glob("keyturn/**/*.py")}

INTENDED = [
    "AccessRefused",
    "AccessToken",
    "AccessTokenExpired",
    "AccessTokenInvalid",
    "AccessTokenMissing",
    "AccessTokenRevoked",
    "Claims",
    "ClaimsRefused",
    "ConfigurationError",
    "CutoffsStale",
    "Device",
    "EndReason",
    "Event",
    "EventKind",
    "KeyturnError",
    "Observer",
    "Policy",
    "RefreshRefused",
    "RefreshSuperseded",
    "RefreshTokenInvalid",
    "RefreshTokenMissing",
    "RefreshTokenReused",
    "Remedy",
    "Session",
    "SessionExpired",
    "SessionRevoked",
    "SessionUnknown",
    "Sessions",
    "SignInRaced",
    "SigningKeyUnknown",
    "Store",
    "StoreUnavailable",
    "Tokens",
    "Unavailable",
    "Verdict",
    "Verifier",
    "__version__",
    "open_store",
]


def test_the_package_shows_what_is_intended() -> None:
    """A name that is added here is a promise to keep it."""
    assert sorted(keyturn.__all__) == sorted(INTENDED)
    assert all(hasattr(keyturn, name) for name in INTENDED)


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_module_names_what_is_public_in_it(path: Path) -> None:
    """``__all__`` is what is defined there without an underscore, and what is imported to show."""
    body = ast.parse(path.read_text()).body

    shown = declared(body)
    assert shown - imported(body) == set(defined(body))


def declared(body: list[ast.stmt]) -> set[str]:
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def imported(body: list[ast.stmt]) -> set[str]:
    return {
        alias.asname or alias.name
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names = [] if is_command(node) else [node.name]
            case ast.Assign(value=ast.Call(func=maker)) if ast.unparse(maker) in FOR_THEIR_MODULE:
                names = []
            case ast.Assign(targets=targets):
                names = [ast.unparse(target) for target in targets]
            case ast.AnnAssign(target=target):
                names = [ast.unparse(target)]
            case _:
                names = []
        yield from (name for name in names if name.isidentifier() and name[0] != "_")


FOR_THEIR_MODULE = {"TypeVar", "ParamSpec", "logging.getLogger"}


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """A command below ``main`` is run by its name there, not imported."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(re.match(r"(?!click\.)\w+\.(command|group)\(", text) for text in decorators)


@pytest.mark.parametrize("name", keyturn.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    """Classes, their methods and properties, and functions; a class by its own words."""
    shown = getattr(keyturn, name)
    if not (inspect.isclass(shown) or inspect.isroutine(shown)):
        return

    documented = {name: shown.__doc__, **dict(methods(shown))}
    assert [name for name, text in documented.items() if not text] == []


def methods(shown: object) -> Iterator[tuple[str, str | None]]:
    for name, member in vars(shown).items():
        if name[0] != "_" and (inspect.isroutine(member) or isinstance(member, property)):
            yield name, inspect.getdoc(member)


def test_importing_the_package_loads_little() -> None:
    """The standard library, cryptography, msgspec, what these two load, and nothing of an extra."""
    program = (
        "import sys, json; before = set(sys.modules); import keyturn;"
        "print(json.dumps([name.partition('.')[0] for name in set(sys.modules) - before]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    loaded = set(json.loads(run.stdout)) - sys.stdlib_module_names
    assert {"keyturn", "cryptography", "msgspec"} <= loaded
    theirs = {"bcrypt", "cffi", "_cffi_backend", "_openssl", "typing_extensions"}
    assert loaded <= {"keyturn", "cryptography", "msgspec", *theirs}
