"""Functions of the application that are told of every event, and a webhook that is one of them.

async def send_mail(delivery: Delivery) -> None:
    if delivery.event.kind is EventKind.SIGNED_IN:
        await mail(delivery.event.user_id, "Somebody signed in to your account")

async with Sessions(store, secrets=[secret], issuer="https://example.com") as sessions:
    async with Hooks(store, {"mail": send_mail}):
        ...
"""

from __future__ import annotations

from keyturn.stores.base import Delivery

from .courier import Hook, Hooks, Undeliverable
from .outbox import Outbox, open_outbox
from .webhook import Webhook, WebhookRefused

__all__ = [
    "Delivery",
    "Hook",
    "Hooks",
    "Outbox",
    "Undeliverable",
    "Webhook",
    "WebhookRefused",
    "open_outbox",
]
