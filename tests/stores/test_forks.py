"""A store that was opened before a fork, as by a server that loads its application once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keyturn.stores.base import FORKED
from tests.stores import forked

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_child_is_told_and_the_parent_goes_on(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Rather than wait for a thread that is not there, or read the answers of another process."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("database")
    command = [sys.executable, "-m", forked.__name__, url]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, text=True, timeout=30
    )

    assert done.stdout.splitlines() == [f"child: {FORKED}", "parent: answered answered"]
    assert done.stderr == ""
