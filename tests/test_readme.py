"""The README does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.processes import register, serving, sign_in

README = Path(__file__).parents[1] / "README.md"
FEED_TOKEN = "a-token-of-the-services-that-follow"


def examples() -> list[str]:
    """As a library, in a program without an event loop, and in another service."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_example_runs_as_often_as_one_likes(tmp_path: Path) -> None:
    """What a stranger copies first must work, and not only once."""
    for _ in range(2):
        assert said_by(examples()[0], tmp_path) == "user-1 ada\n"


def test_the_example_without_an_event_loop_runs_to_its_end(tmp_path: Path) -> None:
    """What it is asked from another thread is answered there, and nothing keeps it from ending."""
    assert said_by(examples()[1], tmp_path) == "user-1\n"


def said_by(code: str, folder: Path) -> str:
    """The standard output of a program that raises at the first warning."""
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout


def test_the_example_of_another_service_knows_who_is_signed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the address of a real server in place of the one that it names."""
    monkeypatch.setenv("FEED_TOKEN", FEED_TOKEN)
    with (
        serving(tmp_path, KEYTURN_REVOCATIONS_TOKEN=FEED_TOKEN) as server,
        server.client() as client,
    ):
        register(client)
        tokens = sign_in(client)
        code = examples()[2].replace("https://login.example.com", server.url)
        asked = "\nprint(user_of({!r}), user_of('x'))".format(tokens["accessToken"])
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code + asked],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

    user_id, nobody = ran.stdout.split()
    assert len(user_id) == 22
    assert nobody == "None"
    assert ran.stderr == ""


@pytest.mark.parametrize("example", examples())
def test_an_example_has_fifteen_lines_at_most(example: str) -> None:
    """Short enough to be read before it is run."""
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
