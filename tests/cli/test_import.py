"""``keyturn users import``: lists of users from elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from keyturn.accounts.importing import UserImport
from keyturn.cli import importing
from keyturn.core.errors import StoreUnavailable
from tests.commands import PASSWORD, Command
from tests.server.processes import run_keyturn, serving

# Of the password of these tests; made with Werkzeug 3.1.9, and cheaply.
HASH = (
    "pbkdf2:sha256:1000$se2sg1OKcGp8WxmA"
    "$14199199d417fc15dca8b93e66be7e187c82c38a3bc434a4a44a4ee130f9a9ce"
)


def line(name: str, **changes: Any) -> str:
    user = {
        "username": name,
        "email": f"{name}@a.example",
        "fullname": name.title(),
        "passwordHash": HASH,
    }
    return json.dumps(user | changes) + "\n"


def test_a_list_is_imported_from_a_file(keyturn: Command) -> None:
    """And whoever is on it signs in with the password that they have."""
    file = keyturn.folder / "users.jsonl"
    file.write_text(line("bob") + "\n" + line("eve"))

    told = keyturn.told("users", "import", str(file))

    assert told == "Added 2 users.\n"
    assert [row["username"] for row in keyturn.rows("users", "list")] == ["ada", "bob", "eve"]
    assert keyturn.sign_in("bob").session.claims.fullname == "Bob"


def test_a_list_is_imported_from_standard_input(keyturn: Command) -> None:
    """As from a pipe; the last line may lack its end."""
    told = keyturn.told("users", "import", "-", typed=line("bob").rstrip("\n"))

    assert told == "Added 1 user.\n"


def test_lines_that_will_not_do_are_told_by_their_numbers(keyturn: Command) -> None:
    """On standard error; blank lines count; the good ones are imported; exit code 1."""
    lines = ["bob\n", "\n", line("bob"), line("x"), line("eve", passwordHash="plain")]

    result = keyturn("users", "import", "-", typed="".join(lines))

    assert result.exit_code == 1
    assert result.stdout == "Added 1 user; 3 lines were refused.\n"
    assert result.stderr.splitlines() == [
        "line 1: JSON is malformed: invalid character (byte 0)",
        "line 4: username must have 3 to 64 characters",
        "line 5: passwordHash has none of the known forms, or is damaged",
    ]


def test_who_is_there_already_is_told(keyturn: Command) -> None:
    """Exit code 1, unless it was said beforehand that they may be."""
    keyturn.told("users", "import", "-", typed=line("bob"))

    again = keyturn("users", "import", "-", typed=line("bob") + line("eve"))
    skipped = keyturn("users", "import", "-", "--skip-existing", typed=line("bob") + line("eve"))

    assert again.exit_code == 1
    assert again.stdout == "Added 1 user; 1 was there already.\n"
    assert again.stderr == "line 1: is of a user who is there already\n"
    assert (skipped.exit_code, skipped.stderr) == (0, "")
    assert skipped.stdout == "Added 0 users; 2 were there already.\n"


def test_half_a_user_is_never_skipped(keyturn: Command) -> None:
    """Whose email is another is another user, who would be lost."""
    other = line("ada", email="other@a.example")
    result = keyturn("users", "import", "-", "--skip-existing", typed=other)

    assert result.exit_code == 1
    assert result.stderr == "line 1: username is that of a user with another email\n"


def test_a_dry_run_tells_and_adds_nobody(keyturn: Command) -> None:
    """With the exit code that it would have."""
    lines = line("bob") + line("bob") + line("x")
    result = keyturn("users", "import", "-", "--dry-run", typed=lines)

    assert result.exit_code == 1
    assert result.stdout == "Would add 1 user; 1 was there already; 1 line was refused.\n"
    assert len(keyturn.rows("users", "list")) == 1


def test_a_program_is_told_all_of_it_as_json(keyturn: Command) -> None:
    """How many of each, and each line that was refused."""
    lines = line("bob") + line("x") + line("bob")
    result = keyturn("users", "import", "-", "--json", "--skip-existing", typed=lines)

    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "dryRun": False,
        "added": 1,
        "present": 1,
        "refused": [{"line": 2, "why": "username must have 3 to 64 characters"}],
    }


def test_an_empty_list_adds_nobody(keyturn: Command) -> None:
    """And is no failure."""
    assert keyturn.told("users", "import", "-", typed="\n \n") == "Added 0 users.\n"


def test_a_file_that_is_not_there_is_wrong_usage(keyturn: Command) -> None:
    """Exit code 2."""
    result = keyturn("users", "import", str(keyturn.folder / "absent"))

    assert result.exit_code == 2
    assert "No such file" in result.stderr


def test_a_line_without_end_takes_no_memory(keyturn: Command) -> None:
    """It is refused as soon as it is too long for a user; the next one is read as it should be."""
    endless = line("bob", fullname="x" * 300_000)
    result = keyturn("users", "import", "-", typed=endless + line("eve"))

    assert result.stdout == "Added 1 user; 1 line was refused.\n"
    assert result.stderr == "line 1: Input data was truncated\n"


def test_a_list_cannot_command_the_terminal(keyturn: Command) -> None:
    """A reason may name what is in the line."""
    result = keyturn("users", "import", "-", typed=line("bob", **{"\x1b[2J": 1}))

    assert result.stderr == "line 1: Object contains unknown field `?[2J`\n"


def test_a_long_list_is_taken_in_pieces(keyturn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines keep their numbers across them."""
    monkeypatch.setattr(importing, "_BATCH", 10)
    lines = [line(f"user{number}") for number in range(25)]
    lines[22] = line("x")

    result = keyturn("users", "import", "-", typed="".join(lines))

    assert result.stdout == "Added 24 users; 1 line was refused.\n"
    assert result.stderr == "line 23: username must have 3 to 64 characters\n"


def test_where_the_database_failed_is_told(
    keyturn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: exit code 3, and how to go on."""
    take = UserImport.take

    async def fail_at_twenty(self: UserImport, lines: list[bytes]) -> Any:
        if any(b"user20" in each for each in lines):
            raise StoreUnavailable("The disk of the database is full")
        return await take(self, lines)

    monkeypatch.setattr(importing, "_BATCH", 10)
    monkeypatch.setattr(UserImport, "take", fail_at_twenty)
    lines = [line(f"user{number}") for number in range(25)]
    stopped = keyturn("users", "import", "-", typed="".join(lines))
    monkeypatch.setattr(UserImport, "take", take)
    finished = keyturn("users", "import", "-", "--skip-existing", typed="".join(lines))

    assert (stopped.exit_code, stopped.stdout) == (3, "")
    assert stopped.stderr.splitlines() == [
        "Stopped: lines before 21 are done; the others can be tried with --skip-existing.",
        "Error: The disk of the database is full",
    ]
    assert finished.stdout == "Added 5 users; 20 were there already.\n"


def test_the_lines_of_the_docs_are_as_they_should_be(keyturn: Command) -> None:
    """What an operator copies first must work."""
    docs = Path(__file__).parents[2] / "docs" / "users-import.md"
    [example] = re.findall(r"```json\n(.*?)```", docs.read_text(), re.DOTALL)

    keyturn.told("users", "delete", "ada", "--yes")
    assert keyturn.told("users", "import", "-", typed=example) == "Added 2 users.\n"


def test_a_running_server_signs_them_in(tmp_path: Path) -> None:
    """Each by the hash that they came with, and then by one of ours."""
    file = tmp_path / "users.jsonl"
    file.write_text(line("bob"))
    with serving(tmp_path) as server, server.client() as client:
        imported = run_keyturn(tmp_path, "users", "import", str(file))
        answers = [
            client.post("/login", json={"username": "bob", "password": password})
            for password in (PASSWORD, "wrong", PASSWORD)
        ]

    assert imported.stdout == "Added 1 user.\n"
    assert [answer.status_code for answer in answers] == [200, 401, 200]
