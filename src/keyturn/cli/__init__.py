"""The command ``keyturn``. Each command opens the database itself, whether a server runs or not.

What a command needs beyond settings is imported when it runs, so that --help answers at once.
"""

from __future__ import annotations

import click

from keyturn._version import __version__

from . import backups, completion, keys, server, sessions, users, webhook
from .running import Commands

__all__ = ["main"]


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: keyturn users list --json",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Keyturn keeps users signed in.

    Settings come from the environment or a TOML file; `keyturn serve --help` lists them. Commands
    work whether a server is running or not, and running servers follow within a second.

    With --json a command prints what it did as one JSON document; what went wrong is another, on
    standard error: an "error" with "code" and "message".
    """


for _command in (
    server.init,
    server.serve,
    server.config,
    server.doctor,
    backups.backup,
    backups.restore,
    completion.completion,
):
    main.add_command(_command)
for _group in (users.users, sessions.sessions, keys.keys, keys.secrets, webhook.webhook):
    main.add_command(_group)
