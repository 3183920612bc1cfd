"""A store that is opened, and then used on both sides of a fork:
``python -m tests.stores.forked URL``. Prints what each side is told.
"""

from __future__ import annotations

import asyncio
import os
import sys

from keyturn.core.errors import StoreUnavailable
from keyturn.stores import Store, open_store


async def ask(store: Store) -> str:
    try:
        await store.check()
        await store.get(["x"])
    except StoreUnavailable as error:
        return str(error)
    return "answered"


async def part_from(store: Store) -> None:
    async with asyncio.timeout(10):
        await store.close()


def main() -> None:
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(open_store(sys.argv[1], create=True))
    before = loop.run_until_complete(ask(store))
    if (child := os.fork()) == 0:
        print("child:", asyncio.run(ask(store)), flush=True)
        asyncio.run(part_from(store))
        os._exit(0)
    os.waitpid(child, 0)
    after = loop.run_until_complete(ask(store))
    loop.run_until_complete(store.close())
    print("parent:", before, after)


if __name__ == "__main__":
    main()
