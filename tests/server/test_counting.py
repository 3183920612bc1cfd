"""Where workers count together, and where one counts alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyturn.server.counting import COMMON_FOLDER, counting_together
from keyturn.server.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {"KEYTURN_DATA_DIR": str(tmp_path), "KEYTURN_METRICS_TOKEN": "0123456789abcdef" * 2}
    return load_settings(given)


@pytest.mark.parametrize("name", [COMMON_FOLDER, COMMON_FOLDER.lower()])
def test_one_worker_counts_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Not into the files of whoever started it."""
    monkeypatch.setenv(name, str(tmp_path))
    with counting_together(settings, workers=1):
        found = os.environ.get(name)

    assert found is None


def test_several_count_in_a_folder_of_their_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which is gone afterwards."""
    monkeypatch.setenv(COMMON_FOLDER, str(tmp_path))
    with counting_together(settings, workers=2):
        folder = Path(os.environ[COMMON_FOLDER])
        was_there = folder.is_dir()

    assert was_there
    assert folder != tmp_path
    assert not folder.exists()
