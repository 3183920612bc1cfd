"""``keyturn completion``: the shell knows the commands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.commands import Command
from tests.server.processes import KEYTURN


def completed(*words: str) -> list[str]:
    """What bash makes of the words when Tab is pressed behind the last one."""
    script = """
        eval "$(keyturn completion bash)"
        COMP_WORDS=(keyturn "$@") COMP_CWORD=$#
        _keyturn_completion keyturn
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    folder = Path(KEYTURN[0]).parent
    ran = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("us",), ["users"]),
        (("users", "re"), ["rename", "reset-link"]),
        (("keys", "rotate", "--n"), ["--now"]),
        (("users", "list", "--js"), ["--json"]),
        (("completion", "z"), ["zsh"]),
    ],
)
def test_bash_completes_commands_and_options(words: tuple[str, ...], found: list[str]) -> None:
    """At each place those that fit there."""
    assert completed(*words) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script_that_asks_the_command(tmp_path: Path, shell: str) -> None:
    """By the variable that it answers to; before anything is set up."""
    told = Command(tmp_path).told("completion", shell)
    row = json.loads(Command(tmp_path).told("completion", shell, "--json"))

    assert f"_KEYTURN_COMPLETE={shell}_complete" in told
    assert row == {"shell": shell, "script": told.removesuffix("\n")}


def test_a_shell_that_is_not_known_is_said(tmp_path: Path) -> None:
    """With those that are."""
    result = Command(tmp_path)("completion", "tcsh")

    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
