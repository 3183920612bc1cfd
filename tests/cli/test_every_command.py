"""What holds for each command: help with an example that works, JSON, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import Result

from keyturn.accounts.importing import UserImport
from keyturn.cli import main
from keyturn.core.errors import StoreUnavailable
from keyturn.server.exits import MEANINGS
from tests.commands import PASSWORD, Command
from tests.server.processes import KEYTURN, PATIENCE, clean_environment, run_keyturn, serving, until

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
EVE: Final = {"username": "eve", "email": "eve@a.example", "fullname": "Eve"}
UNANSWERED: Final = {
    "KEYTURN_DATABASE_URL": "postgresql://127.0.0.1:9/nowhere",
    "KEYTURN_SECRET": "correct-horse-battery-staple-0123456789",
}
ELSEWHERE: Final = r"^/.+/"

Names = tuple[str, ...]


def leaves(command: click.Command, *names: str) -> Iterator[tuple[Names, click.Command]]:
    """Every command that does something, by its names."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, *names, name)
    else:
        yield names, command


COMMANDS: Final = dict(leaves(main))
SERVED: Final = {("serve",)}
"""Those that do not end by themselves."""

every_command = pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
every_one_that_ends = pytest.mark.parametrize(
    "names", sorted(COMMANDS.keys() - SERVED), ids=" ".join
)


def has_option(names: Names, option: str) -> bool:
    return any(option in parameter.opts for parameter in COMMANDS[names].params)


def example_of(names: Names) -> list[str]:
    """As the help has it, without the name of the program."""
    [example] = re.findall(r"keyturn (.*?)[)\"]*$", COMMANDS[names].epilog or "", re.MULTILINE)
    return shlex.split(example)


def fitted(keyturn: Command, names: Names) -> list[str]:
    """The example, with what there is on this machine in place of what it names, and unattended."""
    made: dict[str, Callable[[], str]] = {
        "KID": lambda: str(keyturn.rows("keys", "list")[-1]["kid"]),
        "SID": lambda: keyturn.sign_in().session.sid,
        "users.jsonl": lambda: imported(keyturn),
    }
    words = [
        made[word]() if word in made else re.sub(ELSEWHERE, f"{keyturn.folder}/", word)
        for word in example_of(names)
    ]
    unattended = [option for option in ("--yes", "--password-stdin") if has_option(names, option)]
    return [*words, *unattended]


def imported(keyturn: Command) -> str:
    """A file of users to be imported."""
    file = keyturn.folder / "users.jsonl"
    hashed = "pbkdf2_sha256$1000$c2FsdA$" + "A" * 43 + "="
    file.write_text(json.dumps(EVE | {"passwordHash": hashed}))
    return str(file)


def prepare_for(keyturn: Command, names: Names) -> None:
    """Have what its example needs."""
    folder = keyturn.folder
    if "restore" in names:
        backup = folder / Path(example_of(names)[-1]).name
        backup.unlink(missing_ok=True)
        keyturn.told("backup", str(backup))
    if "config" in names:
        (folder / "keyturn.toml").write_text("access_ttl = 300\n")


@every_command
def test_the_help_has_an_example_in_one_line(names: Names) -> None:
    """To be copied as it stands, on any terminal; it is of the very command."""
    example = COMMANDS[names].epilog or ""
    told = Command(Path("/nowhere")).told(*names, "--help")

    assert f"\n  {example}\n" in told
    assert example.startswith("Example: ")
    assert example_of(names)[: len(names)] == list(names)


@every_command
def test_json_can_be_asked_for(names: Names) -> None:
    """Of every command, in the same way."""
    assert has_option(names, "--json")


# ── what is done ────────────────────────────────────────────────────────────────────────────────


@every_one_that_ends
def test_the_example_works_and_answers_in_json(keyturn: Command, names: Names) -> None:
    """One document on standard output, and nothing beside it."""
    prepare_for(keyturn, names)
    result = keyturn(*fitted(keyturn, names), "--json", typed=PASSWORD)

    assert (result.exit_code, result.stderr) == (0, "")
    assert isinstance(json.loads(result.stdout), dict | list)


def test_the_examples_work_on_postgresql_too(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, on one database."""
    monkeypatch.setattr("keyturn.sessions.KNOWN_AFTER", 0)
    keyturn = Command(tmp_path)
    keyturn.environment["KEYTURN_DATABASE_URL"] = database
    keyturn.told("init")
    failed = [
        (names, result.output)
        for names in sorted(COMMANDS.keys() - SERVED)
        for result in [run_on_new_ada(keyturn, names)]
        if result.exit_code or not isinstance(json.loads(result.stdout), dict | list)
    ]

    assert failed == []


def run_on_new_ada(keyturn: Command, names: Names) -> Result:
    """Whatever became of the last one."""
    for name in ("ada", "ada@example.com"):
        keyturn("users", "delete", name, "--yes")
    adding = ("users", "add", "ada", "ada@example.com", "Ada", "--password-stdin")
    keyturn.told(*adding, typed=PASSWORD)
    prepare_for(keyturn, names)
    return keyturn(*fitted(keyturn, names), "--json", typed=PASSWORD)


def test_where_a_server_listens_is_told_in_json(tmp_path: Path) -> None:
    """For programs that let it choose a port."""
    server = subprocess.Popen(
        [*KEYTURN, "serve", "--port", "0", "--json"],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    told = json.loads(server.stdout.readline())
    server.terminate()
    rest, _ = server.communicate(timeout=PATIENCE)

    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", told["url"])
    assert (server.returncode, rest) == (0, "")


# ── what cannot be done ─────────────────────────────────────────────────────────────────────────


def failure_of(result: Result | subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a program is told: a line on standard error, and nothing where results are."""
    assert result.stdout == ""
    [told] = json.loads(result.stderr).values()
    assert set(told) == {"code", "message"}
    return dict(told)


@every_command
@pytest.mark.parametrize("bad", [("--no-such-option",), ("--config",), ("too",) * 9], ids=" ".join)
def test_wrong_usage_is_a_sentence_and_code_2(tmp_path: Path, names: Names, bad: Names) -> None:
    """One line for people, and the same for programs; never a traceback."""
    keyturn = Command(tmp_path)
    for_people = keyturn(*names, *bad)
    for_programs = keyturn(*names, "--json", *bad)

    assert (for_people.exit_code, for_programs.exit_code) == (2, 2)
    assert for_people.stderr == f"Error: {failure_of(for_programs)['message']}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("users", "show", "bob"), 1, "user_unknown"),
        (("sessions", "revoke", "--user", "bob"), 1, "user_unknown"),
        (("sessions", "revoke", "A" * 22), 1, "session_unknown"),
        (("keys", "retire", "unknown"), 1, "signing_key_unknown"),
        (("users", "rename", "ada", "a@b"), 1, "invalid_field"),
        (("users", "delete", "ada"), 2, "usage"),
        (("users",), 2, "usage"),
        (("nonsense",), 2, "usage"),
        (("users", "list", "--config", "/nowhere"), 2, "configuration"),
        (("secrets", "new", "/nowhere/secret"), 2, "configuration"),
        (("serve", "--host", "192.0.2.1"), 2, "configuration"),
    ],
    ids=str,
)
def test_a_program_is_told_why_something_cannot_be_done(
    keyturn: Command, arguments: Names, code: int, kind: str
) -> None:
    """By a code that stays the same, whatever the sentence is."""
    result = keyturn(*arguments, "--json")

    assert (result.exit_code, failure_of(result)["code"]) == (code, kind)


@pytest.mark.parametrize(
    "arguments",
    [
        ("init",),
        ("serve", "--port", "0"),
        ("users", "list"),
        ("sessions", "void"),
        ("keys", "rotate"),
    ],
    ids=" ".join,
)
def test_a_database_that_does_not_answer_is_code_3(tmp_path: Path, arguments: Names) -> None:
    """C12: whoever runs commands by a timer tries again."""
    ended = run_keyturn(tmp_path, *arguments, "--json", **UNANSWERED)

    assert (ended.returncode, failure_of(ended)["code"]) == (3, "unavailable")


@pytest.mark.parametrize(
    "arguments",
    [
        ("init",),
        ("serve", "--port", "0"),
        ("users", "list"),
        ("keys", "list"),
        ("backup", "/tmp/not-written"),
    ],
    ids=" ".join,
)
def test_a_file_with_damaged_pages_is_code_2(tmp_path: Path, arguments: Names) -> None:
    """No other try is of help, but a backup is: the sentence names the file."""
    run_keyturn(tmp_path, "init")
    file = tmp_path / "data" / "keyturn.db"
    damage_tables(file)
    ended = run_keyturn(tmp_path, *arguments, "--json")

    assert (ended.returncode, failure_of(ended)["code"]) == (2, "configuration")
    assert failure_of(ended)["message"].endswith(f"{file} is damaged; restore a backup")


def damage_tables(file: Path) -> None:
    """Those that are read when all that there is was found to be in order."""
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT rootpage FROM sqlite_schema WHERE name IN ('account', 'longest_access_ttl')"
        pages = [page for (page,) in database.execute(query)]
    content = bytearray(file.read_bytes())
    for page in pages:
        content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)


def test_a_file_that_may_not_be_read_is_told_as_json(tmp_path: Path) -> None:
    """As that of another user."""
    folder = str(tmp_path / ("long" * 100))
    result = Command(tmp_path)("users", "list", "--json", KEYTURN_DATA_DIR=folder)

    assert (result.exit_code, failure_of(result)["code"]) == (2, "file")


def test_a_worker_that_cannot_work_says_so_in_json(tmp_path: Path) -> None:
    """It is another process, on the same standard error."""
    with serving(tmp_path, "--json", "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        (tmp_path / "data" / "secret").unlink()
        os.kill(min(server.workers()), signal.SIGKILL)
        code = server.process.wait(PATIENCE)
    told = [json.loads(line) for line in server.errors.read_text().splitlines()]

    assert code == 2
    assert "configuration" in [line["error"]["code"] for line in told if "error" in line]


def test_a_list_that_stopped_is_told_as_json(
    keyturn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: what was done, and what is to be tried again."""

    async def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(UserImport, "take", fail)
    result = keyturn("users", "import", imported(keyturn), "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout)["doneBefore"] == 1
    assert json.loads(result.stderr)["error"]["code"] == "unavailable"


# ── how it is called ────────────────────────────────────────────────────────────────────────────


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_package_can_be_run_as_well(tmp_path: Path) -> None:
    assert python("-m", "keyturn", "--version").stdout == run_keyturn(tmp_path, "--version").stdout


def test_who_installed_the_library_alone_is_told_what_the_command_needs() -> None:
    without_click = "import sys; sys.modules['click'] = None; from keyturn.__main__ import main"
    told = python("-c", f"{without_click}; main()")

    assert told.returncode == 1
    assert told.stderr == "Error: click is missing; install keyturn[server] for this command\n"


def test_a_module_of_ours_that_is_missing_is_a_fault() -> None:
    """And none of whoever installed the library."""
    without_ours = "import sys; sys.modules['keyturn.cli'] = None"
    told = python("-c", f"{without_ours}; from keyturn.__main__ import main; main()")

    assert "ModuleNotFoundError" in told.stderr


# ── what is written down of them ────────────────────────────────────────────────────────────────


def test_the_exit_codes_are_one_table() -> None:
    """In the help of all, and in the documentation: nobody looks into the code at night."""
    rows = dict(re.findall(r"^\| ([0-9]) \| (.*) \|$", OPERATIONS.read_text(), re.MULTILINE))
    told = " ".join(Command(Path("/nowhere")).told("--help").split())

    assert rows == {str(code): meaning for code, meaning in MEANINGS.items()}
    assert all(f"{code} {meaning}" in told for code, meaning in MEANINGS.items())
