"""How a command runs: its settings, the parts it works on, and the end of one that fails."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from keyturn.server.exits import MEANINGS
from keyturn.server.settings import Settings, load_settings

from .failures import FAILURES, tell_failure

__all__ = ["TAKES_IDS", "Commands", "config_option", "with_parts", "with_settings"]

TAKES_IDS: Final = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
"""Of the context of a command that is given ids: they may begin with a dash, and an h after that is
no call for help.
"""

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file of settings; the environment wins.",
)


class Commands(click.Group):
    """Commands that tell a failure as one sentence, or as JSON, and by an exit code."""

    def main(self, *arguments: Any, **options: Any) -> NoReturn:
        """Run a command, and end the process. Whoever wants JSON gets it for failures too, also
        where nothing else of the command could be read.
        """
        given = arguments[0] if arguments else options.get("args")
        as_json = "--json" in (sys.argv[1:] if given is None else given)
        try:
            code = super().main(*arguments, **options | {"standalone_mode": False})
        except FAILURES as error:
            code = tell_failure(error, as_json=as_json)
        sys.exit(code)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes, under the commands."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in MEANINGS.items()])


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give the settings to a command as its first argument."""

    @config_option
    @wraps(command)
    def run(config: Path | None, **arguments: Any) -> None:
        command(load_settings(os.environ, config), **arguments)

    return run


def with_parts(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Give the parts of a server, opened for it, to a command as its first argument."""

    @with_settings
    @wraps(command)
    def run(settings: Settings, **arguments: Any) -> None:
        asyncio.run(_run(settings, command, arguments))

    return run


async def _run(
    settings: Settings, command: Callable[..., Awaitable[None]], arguments: dict[str, Any]
) -> None:
    from keyturn.server.assembly import open_parts
    from keyturn.server.databases import damage_refused

    with damage_refused(settings):
        parts = await open_parts(settings)
        try:
            await parts.sessions.learn_access_ttl()  # that of the servers may be set otherwise
            await command(parts, **arguments)
        finally:
            await parts.close()
