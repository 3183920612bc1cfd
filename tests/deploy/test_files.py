"""The unit of systemd and the recipe of the container."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server.processes import KEYTURN

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "keyturn.service"
RECIPE = (ROOT / "deploy" / "Dockerfile").read_text()


def checked_unit(folder: Path, *arguments: str) -> str:
    """What systemd says of the unit, its program being the one under test."""
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd-analyze is needed: sudo apt-get install -y systemd")
    unit = folder / "keyturn.service"
    unit.write_text(UNIT.read_text().replace("/opt/keyturn/bin/keyturn", KEYTURN[0]))
    done = subprocess.run(
        [systemd, *arguments, str(unit)],
        capture_output=True,
        check=False,
        text=True,
        env={"SYSTEMD_LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin"},
    )
    return done.stdout + done.stderr


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    """Every setting is known, and spelt as it must be."""
    assert checked_unit(tmp_path, "verify") == ""


def test_the_unit_is_tried_for_as_long_as_it_takes() -> None:
    """Where the database cannot be reached, the server ends once a second; by itself systemd gives
    up for good after five times in ten.
    """
    [unit_section] = re.findall(r"^\[Unit\]\n(.*?)^\[", UNIT.read_text(), re.MULTILINE | re.DOTALL)

    assert "StartLimitIntervalSec=0" in unit_section.splitlines()


def test_the_unit_leaves_the_service_little_to_do_harm_with(tmp_path: Path) -> None:
    """As systemd itself rates it, from 0 (nothing) to 10."""
    rated = checked_unit(tmp_path, "security", "--offline=true")

    [level] = re.findall(r"exposure level for keyturn\.service: ([0-9.]+)", rated)
    assert float(level) < 2


def test_the_container_runs_as_nobody() -> None:
    """From the first process on; only its data folder is writable."""
    last_stage = RECIPE.rpartition("FROM ")[2]

    assert re.search(r"^USER nobody$", last_stage, re.MULTILINE)
    assert last_stage.index("USER nobody") < last_stage.index("CMD [")


@pytest.mark.parametrize("source", re.findall(r"^COPY ([^-].*) \S+$", RECIPE, re.MULTILINE))
def test_what_the_container_is_made_from_is_there(source: str) -> None:
    """And is part of what is published."""
    for name in source.split():
        assert (ROOT / name).exists()
