"""The echo of ``echo.py``, and the plain way of an exchange in a database: one row read by its key,
and one written, as two statements and on the disk.

``seed COUNT FOLDER``; uvicorn serves ``app``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import asyncpg
import echo
import msgspec

CONNECTIONS: Final = 4  # as many as Keyturn has for exchanges
_READ: Final = "SELECT id, turned, held FROM bare WHERE id = $1"
_WRITE: Final = "UPDATE bare SET turned = turned + 1 WHERE id = $1 AND turned = $2 RETURNING id"

_decode = msgspec.json.Decoder(dict[str, str]).decode
_pool: asyncpg.Pool[Any]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """As ``echo.app``, after the two statements."""
    if scope["type"] == "lifespan":
        global _pool  # noqa: PLW0603  there is one application in a process
        _pool = await asyncpg.create_pool(
            os.environ["DATABASE_URL"], min_size=1, max_size=CONNECTIONS
        )
    elif scope["method"] == "POST":
        message = await receive()
        await _turn(_decode(message["body"])["refreshToken"])

        async def again() -> dict[str, Any]:
            return message

        await echo.app(scope, again, send)
        return
    await echo.app(scope, receive, send)


async def _turn(name: str) -> None:
    async with _pool.acquire() as connection:
        row = await connection.fetchrow(_READ, name)
        assert await connection.fetchval(_WRITE, name, row["turned"])


async def seed(count: int, folder: Path) -> None:
    """Make so many rows, and write their names to the files of tokens."""
    names = [f"{number:075d}" for number in range(count)]
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute(
        "CREATE TABLE bare (id text PRIMARY KEY, turned bigint NOT NULL, held text NOT NULL)"
        " WITH (fillfactor = 70)"
    )
    rows = [(name, 0, "x" * 300) for name in names]
    await connection.copy_records_to_table("bare", records=rows)
    await connection.close()
    for file in ("refresh", "access", "name"):
        (folder / file).write_text("\n".join([*names, ""]))


if __name__ == "__main__":
    asyncio.run(seed(int(sys.argv[2]), Path(sys.argv[3])))
