"""``scripts/bench [NAME|all]``: what Keyturn costs on this machine."""

from __future__ import annotations

import asyncio
import platform
import sys

from keyturn import __version__

from . import (
    enumeration,
    growth,
    imports,
    instructions,
    ledger,
    limits,
    postgres,
    revocation,
    scale,
    sessions,
    stories,
    worker,
)

_BENCHMARKS = {
    "sessions": lambda: asyncio.run(sessions.run()),
    "postgres": postgres.run,
    "limits": limits.run,
    "scale": scale.run,
    "instructions": instructions.run,
    "growth": growth.run,
    "revocation": revocation.run,
    "stories": stories.run,
    "imports": imports.run,
    "worker": worker.run,
    "enumeration": enumeration.run,
    "ledger": ledger.run,
}


def main(names: list[str]) -> int:
    if not names or names == ["all"]:
        names = list(_BENCHMARKS)
    if unknown := [name for name in names if name not in _BENCHMARKS]:
        print(f"There is no benchmark {unknown[0]!r}: choose from {', '.join(_BENCHMARKS)}, all")
        return 2
    print(f"keyturn {__version__}, Python {platform.python_version()}, {platform.machine()}")
    for name in names:
        _BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
