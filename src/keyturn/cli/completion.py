"""``keyturn completion``."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from .output import as_json_option, tell

__all__ = ["completion"]

_SHELLS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command(epilog='Example: eval "$(keyturn completion bash)"')
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@as_json_option
@click.pass_context
def completion(context: click.Context, shell: str, *, as_json: bool) -> None:
    """Print a script that completes commands and options.

    For bash put the line below into ~/.bashrc, for zsh the like into ~/.zshrc, after compinit. For
    fish write the script into ~/.config/fish/completions/keyturn.fish.

    Names of users and ids of sessions are not completed: that would ask the database at each Tab.
    """
    commands = context.find_root().command
    script = _SHELLS[shell](commands, {}, "keyturn", "_KEYTURN_COMPLETE").source()
    tell(script, {"shell": shell, "script": script}, as_json=as_json)
