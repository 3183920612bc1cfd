"""``keyturn init``, ``serve`` and ``doctor``."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import click

from keyturn.server.databases import name_of
from keyturn.server.exits import FAILED
from keyturn.server.findings import Finding
from keyturn.server.secret_files import secret_files
from keyturn.server.settings import (
    DEFAULT_PORT,
    Settings,
    check_binding,
    load_settings,
    origins_of_settings,
    settings_table,
    shown_settings,
    variable,
)

from .failures import Refused
from .output import as_json_option, printable, show, tell
from .running import config_option, with_settings

__all__ = ["config", "doctor", "init", "serve"]


class _ListsSettings(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of settings, under the options."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Settings"):
            formatter.write_text(
                "From the environment, or from FILE in lower case without KEYTURN_. Times are whole"
                " seconds; lists are separated by commas."
            )
            formatter.write_paragraph()
            formatter.write_dl(
                [
                    (name, f"{purpose}. [{default}]" if default else f"{purpose}.")
                    for name, default, purpose in settings_table()
                ]
            )


@click.command(epilog="Example: keyturn init")
@click.option(
    "--sharded",
    is_flag=True,
    help="Lay the tables of PostgreSQL out for an engine that shards them: Citus.",
)
@as_json_option
@with_settings
def init(settings: Settings, *, sharded: bool, as_json: bool) -> None:
    """Make what is missing of secret, database and signing key.

    What exists is left as it is, but for tables of an older release, which are brought up to date.
    On a file of SQLite `keyturn serve` does this by itself on its first run, unless secrets are
    configured. On PostgreSQL the database itself must exist, and only this makes tables in it.

    With --sharded, tables in use are converted too: stop the servers first. It is recorded in the
    database, and need not be said again.
    """
    from keyturn.server.assembly import prepare

    asyncio.run(prepare(settings, create=True, sharded=sharded))
    name = name_of(settings)
    sentence = f"Ready, with database {name}; start with `keyturn serve`."
    tell(sentence, {"database": name}, as_json=as_json)


@click.command(cls=_ListsSettings, epilog="Example: keyturn serve --port 8000 --workers 2")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 is any free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer.",
)
@as_json_option
@config_option
def serve(host: str, port: int, workers: int, config: Path | None, *, as_json: bool) -> None:
    """Answer HTTP requests until told to stop.

    The first run makes a secret and a database. SIGTERM, SIGINT (Ctrl+C) and SIGHUP stop it
    once the requests in flight are answered. TLS is the business of a proxy in front; an address
    other than loopback needs KEYTURN_PUBLIC_URL to be https.
    """
    from keyturn.server.assembly import check_settings
    from keyturn.server.logs import configure_logs
    from keyturn.server.run import serve as serve_until_told

    settings = load_settings(os.environ, config, port=port or DEFAULT_PORT)
    check_settings(settings)
    check_binding(settings, host)
    with _listen(host, port) as listener:
        if not port:  # which one it became is part of the default public URL
            settings = load_settings(os.environ, config, port=listener.getsockname()[1])
        configure_logs(settings.log_level, settings.log_format)
        sys.exit(serve_until_told(settings, listener, workers, as_json=as_json))


def _listen(host: str, port: int) -> socket.socket:
    from keyturn.server.run import listen

    try:
        return listen(host, port)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise Refused(
            "cannot_listen",
            f"cannot listen on {host} port {port}: {why}; choose others with --host and --port",
        ) from None


@click.command(epilog="Example: keyturn config --config /etc/keyturn.toml")
@as_json_option
@config_option
def config(config: Path | None, *, as_json: bool) -> None:
    """Show the settings in force, and where each comes from.

    What is secret is hidden.
    """
    settings = load_settings(os.environ, config)
    origins = origins_of_settings(os.environ, config)
    values = shown_settings(settings) | {"database_url": name_of(settings)}
    if not settings.secret:
        values["secret_file"] = ",".join(map(str, secret_files(settings)))
    rows = [
        {"setting": variable(name), "value": value, "from": origins[name]}
        for name, value in values.items()
    ]
    show(rows, as_json=as_json)


@click.command(epilog="Example: keyturn doctor --json")
@click.option("--up", is_flag=True, help="A server is meant to run: it is wrong if none answers.")
@as_json_option
@with_settings
def doctor(settings: Settings, *, up: bool, as_json: bool) -> None:
    """Look for what is wrong, and say what to change.

    Looks at settings, cookies, files, secrets, clock, the database, whether the secrets open its
    signing keys, and at the public URL: whether this server answers there, and what the proxy in
    front makes of requests; and whether the webhook can be reached. Changes nothing. Exits with 1
    if something is wrong; what is only noted may stay.
    """
    from keyturn.server.doctor import examine

    findings = asyncio.run(examine(settings, up=up))
    if as_json:
        show([_row(finding) for finding in findings], as_json=True)
    else:
        for finding in findings:
            click.echo(printable(_line(finding)))
    if any(finding.state == "wrong" for finding in findings):
        sys.exit(FAILED)


def _row(finding: Finding) -> dict[str, str | None]:
    return {
        "subject": finding.subject,
        "state": finding.state,
        "advice": finding.advice or None,
    }


def _line(finding: Finding) -> str:
    state = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}[finding.state]
    return f"{state} {finding.subject}{f': {finding.advice}' if finding.advice else ''}"
