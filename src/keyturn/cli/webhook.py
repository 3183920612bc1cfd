"""``keyturn webhook``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from .failures import Refused
from .output import as_json_option, iso, show, show_one, tell
from .running import with_parts

if TYPE_CHECKING:
    from keyturn.hooks import Delivery, Outbox
    from keyturn.server.assembly import Parts

__all__ = ["webhook"]

_all_option = click.option("--all", "everything", is_flag=True, help="All that were given up.")


@click.group()
def webhook() -> None:
    """Where events are posted: what waits, and what was given up.

    Set KEYTURN_WEBHOOK_URL and KEYTURN_WEBHOOK_SECRET and restart the servers; events are posted
    from then on. docs/webhook.md tells what is posted and how a receiver checks it.
    """


@webhook.command(epilog="Example: keyturn webhook secret")
@as_json_option
def secret(*, as_json: bool) -> None:
    """Print a new secret, for here and for the receiver.

    To change KEYTURN_WEBHOOK_SECRET so that nothing is missed: name both (new,old), restart all
    servers, give the receiver the new one, and take the old one away.
    """
    from keyturn.hooks.webhook import new_secret

    made = new_secret(os.urandom(32))
    tell(made, {"secret": made}, as_json=as_json)


@webhook.command(epilog="Example: keyturn webhook status")
@as_json_option
@with_parts
async def status(parts: Parts, *, as_json: bool) -> None:
    """Tell whether events are posted, how many wait, were given up."""
    outbox, hook = _outbox(parts)
    due, given_up = await outbox.count(hook)
    waiting = await outbox.oldest(hook, given_up=False, limit=1)
    row = {
        "on": hook in await outbox.subscribed(),
        "toBeTold": due,
        "oldest": iso(waiting[0].event.at) if waiting else None,
        "givenUp": given_up,
    }
    show_one(row, as_json=as_json)


@webhook.command(name="list", epilog="Example: keyturn webhook list --waiting")
@click.option("--waiting", is_flag=True, help="Those that are to be told yet instead.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@as_json_option
@with_parts
async def list_deliveries(parts: Parts, limit: int, *, waiting: bool, as_json: bool) -> None:
    """List what was given up, the oldest first.

    That is after ten tries in two days.
    """
    outbox, hook = _outbox(parts)
    rows = [_row(each) for each in await outbox.oldest(hook, given_up=not waiting, limit=limit)]
    show(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("None.", err=True)


@webhook.command(epilog="Example: keyturn webhook retry --all")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_all_option
@as_json_option
@with_parts
async def retry(parts: Parts, ids: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Have what was given up told after all.

    ID is as `keyturn webhook list` shows it.
    """
    outbox, hook = _outbox(parts)
    count = await outbox.retry(hook, _chosen(ids, everything=everything))
    tell(f"To be told again: {count}.", {"retried": count}, as_json=as_json)
    _require(count, ids)


@webhook.command(epilog="Example: keyturn webhook discard --all")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_all_option
@as_json_option
@with_parts
async def discard(parts: Parts, ids: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Drop what was given up: some deliveries, or all.

    ID is as `keyturn webhook list` shows it.
    """
    outbox, hook = _outbox(parts)
    count = await outbox.discard(hook, _chosen(ids, everything=everything))
    tell(f"Dropped: {count}.", {"dropped": count}, as_json=as_json)
    _require(count, ids)


@webhook.command(epilog="Example: keyturn webhook off")
@as_json_option
@with_parts
async def off(parts: Parts, *, as_json: bool) -> None:
    """Post no more events, and drop those that wait.

    Restart all servers without KEYTURN_WEBHOOK_URL first: one that has it switches this on again
    within a minute.
    """
    outbox, hook = _outbox(parts)
    await outbox.unsubscribe(hook)
    tell("Events are posted nowhere now.", {"on": False}, as_json=as_json)


def _outbox(parts: Parts) -> tuple[Outbox, str]:
    from keyturn.hooks import open_outbox
    from keyturn.server.assembly import WEBHOOK

    return open_outbox(parts.store), WEBHOOK


def _chosen(ids: tuple[str, ...], *, everything: bool) -> tuple[str, ...] | None:
    if bool(ids) == everything:
        raise click.UsageError("name IDs, or --all")
    return None if everything else ids


def _require(count: int, ids: tuple[str, ...]) -> None:
    if count < len(set(ids)):
        raise Refused(
            "delivery_unknown",
            f"{len(set(ids)) - count} of them were not given up; `keyturn webhook list` shows all",
        )


def _row(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "at": iso(delivery.event.at),
        "kind": delivery.event.kind,
        "userId": delivery.event.user_id,
        "attempts": delivery.attempts,
        "next": iso(delivery.due_at),
        "error": delivery.error,
    }
