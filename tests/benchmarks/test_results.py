"""Rows and texts of a run end where they belong, and nowhere else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from benchmarks.report import PAGE, Machine, commit_of, fill, save, table, this_machine

from tests.benchmarks.loads import row

PLACES = ("http", "correctness", "limits", "scale", "micro")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page.md"
    page.write_text(
        "Before.\n\n<!-- one:begin -->\n<!-- one:end -->\n\nBetween.\n\n"
        "<!-- two:begin -->\nold\n<!-- two:end -->\n\nAfter.\n"
    )
    return page


def test_a_text_takes_its_place_and_no_other(page: Path) -> None:
    """What was there before is gone; all around it stays."""
    fill("two", "new\n", page)

    assert page.read_text() == (
        "Before.\n\n<!-- one:begin -->\n<!-- one:end -->\n\nBetween.\n\n"
        "<!-- two:begin -->\n\nnew\n\n<!-- two:end -->\n\nAfter.\n"
    )


def test_a_place_can_be_filled_again_and_again(page: Path) -> None:
    """The last run counts, and the page does not grow."""
    fill("one", "first", page)
    once = page.read_text()

    fill("one", "other", page)
    fill("one", "first", page)

    assert page.read_text() == once


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- one:begin -->",
        "<!-- one:end --> <!-- one:begin -->",
        "<!-- one:begin --> <!-- one:end --> <!-- one:begin --> <!-- one:end -->",
    ],
)
def test_a_page_without_just_one_place_is_left_alone(tmp_path: Path, text: str) -> None:
    """Better no figures than figures in the wrong place."""
    page = tmp_path / "page.md"
    page.write_text(text)

    with pytest.raises(ValueError, match="must have one <!-- one:begin -->"):
        fill("one", "new", page)

    assert page.read_text() == text


@pytest.mark.parametrize("name", PLACES)
def test_the_page_has_every_place(tmp_path: Path, name: str) -> None:
    """Each benchmark that writes there finds its own."""
    page = tmp_path / PAGE.name
    page.write_text(PAGE.read_text())

    fill(name, "figures", page)

    assert f"<!-- {name}:begin -->\n\nfigures\n\n<!-- {name}:end -->" in page.read_text()


def test_all_rows_are_kept_with_the_machine(tmp_path: Path) -> None:
    """Those that are not quoted, too; each in a line, so that runs can be compared."""
    machine = Machine(
        cpu="a processor", cores=2, kernel="6", python="3", node="20", postgresql="15", wrk="4",
        calibration_us=10, packages={"app": {"library": "1.2"}},
    )  # fmt: skip
    save("some", machine, [row(), row(refused=2)], tmp_path / "results")

    text = (tmp_path / "results" / "some.json").read_text()
    kept = json.loads(text)
    assert kept["machine"]["packages"] == {"app": {"library": "1.2"}}
    assert [each["cost"]["load"]["refused"] for each in kept["rows"]] == [0, 2]
    assert len([line for line in text.splitlines() if '"contender"' in line]) == 2


def test_a_machine_knows_itself() -> None:
    """Without the programs of the benchmarks, too: they are not needed for the tests."""
    machine = this_machine()

    assert machine.cores >= 1
    assert int(machine.postgresql.partition(".")[0]) >= 13
    assert machine.calibration_us > 0


def test_figures_are_told_with_what_was_measured(tmp_path: Path) -> None:
    """And whether that was changed since: what a run writes itself is no change."""
    git = ("git", "-C", tmp_path, "-c", "user.name=A", "-c", "user.email=a@example.com")
    for name in ("src", "docs", "benchmarks/results"):
        (tmp_path / name).mkdir(parents=True)
    for command in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "The first")):
        subprocess.run([*git, *command], check=True)
    as_committed = commit_of(tmp_path)

    (tmp_path / "docs" / "page.md").write_text("figures")
    (tmp_path / "benchmarks" / "results" / "some.json").write_text("{}")
    after_a_run = commit_of(tmp_path)
    (tmp_path / "src" / "some.py").write_text("changed")

    assert len(as_committed) == 12
    assert after_a_run == as_committed
    assert commit_of(tmp_path) == f"{as_committed}, changed"


def test_without_a_repository_no_commit_is_known(tmp_path: Path) -> None:
    """As where the source came in an archive."""
    assert commit_of(tmp_path) == "unknown"


def test_figures_stand_on_the_right() -> None:
    """And names on the left."""
    assert table(["", "a"], [["x", "1"], ["y", "2"]]).splitlines() == [
        "|  | a |",
        "| --- | ---: |",
        "| x | 1 |",
        "| y | 2 |",
    ]
