"""The README does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return str(code)


def test_the_example_runs_as_often_as_one_likes(tmp_path: Path) -> None:
    """What a stranger copies first must work, and not only once."""
    command = [sys.executable, "-W", "error", "-c", example()]

    for _ in range(2):
        ran = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )

        assert ran.stdout == "user-1 ada\n"


def test_the_example_has_fifteen_lines() -> None:
    """Short enough to be read before it is run."""
    assert len([line for line in example().splitlines() if line.strip()]) <= 15
