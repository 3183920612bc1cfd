"""``keyturn`` as a test gives it commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from keyturn.cli import main
from keyturn.core.model import Device, Tokens
from keyturn.server.assembly import Parts, open_parts
from keyturn.server.settings import load_settings

PASSWORD: Final = "correct horse battery"
NOWHERE: Final = {"KEYTURN_PUBLIC_URL": "http://127.0.0.1:9"}
"""No server of anybody's answers there, for the doctor to find."""


class Command:
    """``keyturn`` in this process, with its data in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"KEYTURN_DATA_DIR": str(folder / "data")}

    def __call__(self, *arguments: str, typed: str | bytes = "", **environment: str) -> Result:
        runner = CliRunner(env={**self.environment, **environment})
        return runner.invoke(main, arguments, input=typed)

    def told(self, *arguments: str, typed: str = "") -> str:
        """What a command that works prints."""
        result = self(*arguments, typed=typed)
        assert result.exit_code == 0, result.output
        return result.output

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command that lists prints as JSON."""
        rows: list[dict[str, Any]] = json.loads(self.told(*arguments, "--json"))
        return rows

    def meanwhile(self, work: Callable[[Parts], Awaitable[Any]]) -> Any:
        """What a server would do on the same database."""

        async def run() -> Any:
            parts = await open_parts(load_settings(self.environment))
            await parts.sessions.load()
            try:
                return await work(parts)
            finally:
                await parts.close()

        return asyncio.run(run())

    def sign_in(self, name: str = "ada", **device: str) -> Tokens:
        async def login(parts: Parts) -> Tokens:
            return (await parts.accounts.login(name, PASSWORD, device=Device(**device)))[1]

        tokens: Tokens = self.meanwhile(login)
        return tokens
