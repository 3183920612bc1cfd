"""The command ``keyturn``. Each command opens the database itself, whether a server runs or not.

What a command needs beyond settings is imported when it runs, so that --help answers at once.
"""

from __future__ import annotations

import click

from keyturn._version import __version__

from . import backups, keys, server, sessions, users, webhook
from .running import Commands

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Keyturn keeps users signed in.

    Settings come from the environment or a TOML file; `keyturn serve --help` lists them. Commands
    work whether a server is running or not, and running servers follow within a second.

    Exit codes: 0 done; 1 cannot be done, or the doctor found something; 2 wrong usage, or a
    setting, secret or database that cannot be used; 3 the database does not answer, try again.
    """


for _command in (
    server.init,
    server.serve,
    server.config,
    server.doctor,
    backups.backup,
    backups.restore,
):
    main.add_command(_command)
for _group in (users.users, sessions.sessions, keys.keys, keys.secrets, webhook.webhook):
    main.add_command(_group)
