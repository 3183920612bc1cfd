"""Keyturn as it is served, but for the hashing of passwords, which is measured apart.

``seed COUNT FOLDER``, ``sign COUNT FOLDER``, or any command of ``keyturn``. For servers other than
its own, ``app`` is the ASGI application with the endpoints.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from keyturn.accounts import hashing
from keyturn.accounts.argon2id import Argon2id
from keyturn.cli import main
from keyturn.core.access_token import mint
from keyturn.core.model import Tokens
from keyturn.integrations.asgi import App
from keyturn.server.assembly import Parts, open_parts, wire_settings_of
from keyturn.server.settings import load_settings
from keyturn.wire.endpoints import Endpoints

PASSWORD = "correct horse battery"
AT_ONCE = 64

hashing._default_hasher = lambda: Argon2id(memory=8, passes=1)  # noqa: SLF001


async def seed(count: int, folder: Path) -> None:
    """Register so many users and sign each in."""
    parts = await open_parts(load_settings(os.environ), create=True)
    async with parts.sessions:
        names = [f"user{number}@example.com" for number in range(count)]
        tokens: list[Tokens] = []
        for start in range(0, count, AT_ONCE):
            signing_in = [_sign_in(parts, name) for name in names[start : start + AT_ONCE]]
            tokens += await asyncio.gather(*signing_in)
    for file, lines in (
        ("refresh", [each.refresh_token for each in tokens]),
        ("access", [each.access_token for each in tokens]),
        ("name", names),
    ):
        (folder / file).write_text("\n".join([*lines, ""]))


async def sign(count: int, folder: Path) -> None:
    """Sign in one user, and sign so many access tokens, of which no two are alike."""
    parts = await open_parts(load_settings(os.environ), create=True)
    async with parts.sessions as sessions:
        said = sessions.verify((await _sign_in(parts, "user0@example.com")).access_token)
        key = sessions.keyring.signing_key(sessions.now())
        with (folder / "access").open("w") as file:
            for _ in range(count):
                another = replace(said, token_id=secrets.token_urlsafe(12))
                print(mint(key, sessions.issuer, sessions.audience, another), file=file)


async def _sign_in(parts: Parts, name: str) -> Tokens:
    username = name.partition("@")[0]
    await parts.accounts.register(username, name, f"The {username}", PASSWORD)
    return (await parts.accounts.login(name, PASSWORD))[1]


@asynccontextmanager
async def opening() -> AsyncIterator[Endpoints]:
    """What is served, in one worker."""
    settings = load_settings(os.environ)
    parts = await open_parts(settings)
    try:
        async with parts.sessions:
            yield Endpoints(parts.sessions, parts.accounts, wire_settings_of(settings))
    finally:
        await parts.close()


app = App.opened_by(opening)

if __name__ == "__main__":
    if seeding := {"seed": seed, "sign": sign}.get(sys.argv[1]):
        asyncio.run(seeding(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        main()
