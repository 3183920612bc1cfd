"""The command ``keyturn``, and ``python -m keyturn``: says so where what they need is missing."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run ``keyturn.cli``."""
    try:
        from keyturn.cli import main as command
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("keyturn"):
            raise
        sys.exit(f"Error: {error.name} is missing; install keyturn[server] for this command")
    command(prog_name="keyturn")


if __name__ == "__main__":
    main()
