"""An application that embeds Keyturn, for a server that loads it and then forks its workers:
``gunicorn --preload tests.faults.preloaded:app``, on the store at ``DATABASE_URL``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keyturn.accounts import Accounts, open_users
from keyturn.integrations.asgi import App
from keyturn.sessions import Sessions
from keyturn.stores import open_store
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.settings import WireSettings
from tests.faults.stage import POLICY, PUBLIC_URL, SECRET

__all__ = ["app"]


@asynccontextmanager
async def opened() -> AsyncIterator[Endpoints]:
    store = await open_store(os.environ["DATABASE_URL"])
    async with Sessions(store, secrets=[SECRET], issuer=PUBLIC_URL, policy=POLICY) as sessions:
        accounts = Accounts(open_users(store), sessions)
        yield Endpoints(sessions, accounts, WireSettings(public_url=PUBLIC_URL))
        accounts.close()


app = App.opened_by(opened)
