"""Sessions and users for ``keyturn serve``, as it would have begun them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from benchmarks.contenders.model import PASSWORD

from keyturn import Claims, Sessions, open_store
from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.accounts.argon2id import Argon2id


async def seed(count: int, folder: Path) -> None:
    """Begin a session of each of so many users, and write its tokens and the name of the user."""
    store = await open_store(os.environ["DATABASE_URL"], create=True)
    secret = Path(os.environ["KEYTURN_SECRET_FILE"]).read_text().strip().encode()
    issuer = os.environ["KEYTURN_PUBLIC_URL"]
    async with Sessions(store, secrets=[secret], issuer=issuer) as sessions:
        users = open_users(store)
        ...


if __name__ == "__main__":
    asyncio.run(seed(int(sys.argv[1]), Path(sys.argv[2])))
