"""The example of docs/embedding.md does what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from keyturn import Verifier

from .support import free_port, served

EMBEDDING = Path(__file__).parents[2] / "docs" / "embedding.md"
ADA = {
    "username": "ada",
    "email": "ada@example.com",
    "fullname": "Ada Lovelace",
    "password": "correct horse battery",
}


def said_by(url: str, token: str) -> str:
    """Who a service elsewhere takes the token to be of."""
    with Verifier(url) as verifier:
        return verifier.verify(token).claims.username


async def test_the_example_signs_users_in_below_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And knows them everywhere else, as do services that look where RFC 8414 has the metadata."""
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(bytes(range(32)))
    listener = free_port()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    [code] = re.findall(r"```python\n(.*?)```", EMBEDDING.read_text(), re.DOTALL)
    shop: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:8000", address), shop)

    async with served(shop["app"], listener) as client:
        stranger = await client.get("/")
        await client.post("/auth/register", json=ADA)
        sign_in = {name: ADA[name] for name in ("username", "password")}
        tokens = (await client.post("/auth/login", json=sign_in)).json()["data"]
        bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
        known = await client.get("/", headers=bearer)
        metadata = await client.get(shop["METADATA"])
        elsewhere = await asyncio.to_thread(said_by, shop["URL"], tokens["accessToken"])

    assert (stranger.status_code, stranger.text) == (401, "Sign in at /auth/login")
    assert (known.status_code, known.text) == (200, "ada")
    assert metadata.json()["issuer"] == shop["URL"]
    assert elsewhere == "ada"
