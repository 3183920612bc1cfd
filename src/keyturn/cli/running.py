"""How a command runs: its settings, the parts it works on, and the end of one that fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from keyturn.core.errors import KeyturnError
from keyturn.server.exits import MISCONFIGURED, exit_code, told
from keyturn.server.settings import Settings, load_settings

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
    """Commands that tell a failure as one sentence and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyturnError as error:
            click.echo(f"Error: {told(error)}", err=True)
            context.exit(exit_code(error))
        except BrokenPipeError:
            raise  # whoever read has gone, which click takes quietly
        except OSError as error:  # as a rule a file of another user
            click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
            context.exit(MISCONFIGURED)


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

    parts = await open_parts(settings)
    try:
        await parts.sessions.learn_access_ttl()  # that of the servers may be set otherwise
        await command(parts, **arguments)
    finally:
        await parts.close()
