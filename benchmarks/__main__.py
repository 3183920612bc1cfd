"""``scripts/bench [NAME|all]``: what Keyturn costs on this machine."""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from keyturn import __version__

from . import (
    enumeration,
    growth,
    http,
    imports,
    instructions,
    ledger,
    limits,
    pieces,
    postgres,
    revocation,
    scale,
    sessions,
    stories,
    worker,
)

_BENCHMARKS: Final[Mapping[str, Callable[[], None]]] = {
    "http": http.run,
    "sessions": lambda: asyncio.run(sessions.run()),
    "postgres": postgres.run,
    "limits": limits.run,
    "scale": scale.run,
    "micro": pieces.run,
    "instructions": instructions.run,
    "growth": growth.run,
    "revocation": revocation.run,
    "stories": stories.run,
    "imports": imports.run,
    "worker": worker.run,
    "enumeration": enumeration.run,
    "ledger": ledger.run,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("scripts/bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(_BENCHMARKS)}; or all of them"
    )
    parser.add_argument(
        "--rounds", type=_positive, default=http.ROUNDS, metavar="N", help="of http (%(default)s)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="SUBSTRING",
        help="of http, the contenders with that in their names, shown and not written; repeatable",
    )  # fmt: skip
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be 1 or more, and is {text!r}")
    return int(text)


def main(arguments: list[str]) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.names if options.names not in ([], ["all"]) else [*_BENCHMARKS]
    if unknown := [name for name in names if name not in _BENCHMARKS]:
        parser.error(
            f"there is no benchmark {unknown[0]!r}: choose from {', '.join(_BENCHMARKS)}, all"
        )
    print(f"keyturn {__version__}, Python {platform.python_version()}, {platform.machine()}")
    asked = {"http": partial(http.run, options.rounds, options.only)}
    for name in names:
        asked.get(name, _BENCHMARKS[name])()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
