"""Where the figures of a run go: rows into ``benchmarks/results``, and Markdown into the page of
``docs`` that has a place for it.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from tests.postgresql import binaries

from .measure import calibration_us

__all__ = ["PAGE", "PICTURES", "Machine", "commit_of", "fill", "save", "table", "this_machine"]

_ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = _ROOT / "benchmarks" / "results"
PAGE: Final = _ROOT / "docs" / "performance.md"
PICTURES: Final = _ROOT / "docs" / "performance"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures hold for."""

    cpu: str
    cores: int
    kernel: str
    python: str
    node: str
    postgresql: str
    wrk: str
    commit: str = "unknown"
    """What was checked out, and whether that was changed."""
    calibration_us: float
    """Of the loop by which runs are compared, before this one."""
    packages: Mapping[str, Mapping[str, str]] = {}
    """Versions by name, for each program that was run."""


def this_machine(packages: Mapping[str, Mapping[str, str]] | None = None) -> Machine:
    return Machine(
        cpu=_first(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        node=_first(r"v([\d.]+)", _told("node", "--version")),
        postgresql=_first(r"([\d.]+)", _told(binaries() / "postgres", "--version")),
        wrk=_first(r"wrk (\S+)", _told("wrk", "--version")),
        commit=commit_of(_ROOT),
        calibration_us=calibration_us(),
        packages=packages or {},
    )


def commit_of(root: Path) -> str:
    """What is checked out there, and whether it is changed; what a run writes does not count."""
    git = ("git", "-C", root)
    name = _first(r"(\w+)", _told(*git, "rev-parse", "--short=12", "HEAD"))
    changes = _told(*git, "status", "--porcelain", "--", ".", ":!docs", ":!benchmarks/results")
    return f"{name}, changed" if changes else name


def _told(*command: str | Path) -> str:
    """What a program prints, if it is there; wrk tells its version and fails."""
    try:
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
        ).stdout
    except FileNotFoundError:
        return ""


def _first(pattern: str, text: str) -> str:
    """What the pattern's group matches, or that it is not known."""
    found = re.search(pattern, text)
    return found[1] if found else "unknown"


def save(
    name: str, machine: Machine, rows: Sequence[msgspec.Struct], folder: Path = RESULTS
) -> None:
    """Keep all rows of a run, each in a line of a JSON document."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(msgspec.json.encode(row).decode() for row in rows)
    head = msgspec.json.format(msgspec.json.encode(machine)).decode()
    (folder / f"{name}.json").write_text(f'{{"machine": {head},\n"rows": [\n{lines}\n]}}\n')


def fill(name: str, markdown: str, page: Path = PAGE) -> None:
    """Put the text where the page has a place of that name, instead of what is there.

    Raises:
        ValueError: the page does not have just one such place.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begun, rest = (text := page.read_text()).partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended) or text.count(begin) + text.count(end) != 2:
        raise ValueError(f"{page} must have one {begin}, and one {end} after it")
    page.write_text(f"{before}{begin}\n\n{markdown.strip()}\n\n{end}{after}")


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown: the first column on the left, figures on the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))
