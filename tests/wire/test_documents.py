"""What the server tells of itself."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.wire.settings import WireSettings
from tests.support import Clock
from tests.wire.support import FEED_TOKEN, Site, site

JWKS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"


async def test_the_public_keys_may_be_kept_for_a_while(here: Site) -> None:
    """E1, E2: of their own media type, with an age and a tag, and nothing private."""
    answer = await here.ask("GET", JWKS)

    (key,) = answer.json["keys"]
    assert answer["content-type"] == "application/jwk-set+json"
    assert answer["cache-control"] == "public, max-age=300"
    assert key.keys() == {"kty", "crv", "x", "y", "alg", "kid", "use"}


@pytest.mark.parametrize("template", ["{}", "W/{}", '"x", {}', "*"])
async def test_a_copy_of_the_keys_that_is_good_still_is_not_sent_again(
    here: Site, template: str
) -> None:
    """E2: 304 with the tag and the age, without a body or a length."""
    tag = (await here.ask("GET", JWKS))["etag"]

    answer = await here.ask("GET", JWKS, headers={"if-none-match": template.format(tag)})

    assert (answer.status, answer.body, answer["etag"]) == (304, b"", tag)
    assert answer["cache-control"] == "public, max-age=300"
    assert answer.all("content-length") == []


async def test_other_keys_have_another_tag(here: Site) -> None:
    """E2: a new key is told of before it is used."""
    tag = (await here.ask("GET", JWKS))["etag"]
    await here.sessions.rotate_keys()

    answer = await here.ask("GET", JWKS, headers={"if-none-match": tag})

    assert answer.status == 200
    assert len(answer.json["keys"]) == 2
    assert answer["etag"] != tag


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://example.com", METADATA),
        ("https://example.com/auth", f"{METADATA}/auth"),
        ("https://example.com/a/b/", f"{METADATA}/a/b"),
        ("https://example.com/auth", METADATA),
    ],
)
async def test_the_metadata_is_where_rfc_8414_looks_for_it(
    clock: Clock, issuer: str, path: str
) -> None:
    """E5: the issuer to the letter, where the keys are, and nothing that does not exist."""
    settings = WireSettings(public_url="https://example.com/auth")

    async with site(clock, settings, issuer=issuer) as here:
        answer = await here.ask("GET", path)

    assert answer["content-type"] == "application/json"
    assert answer.json == {
        "issuer": issuer,
        "jwks_uri": "https://example.com/auth/.well-known/jwks.json",
    }


async def test_the_metadata_tells_where_revocations_are_followed(clock: Clock) -> None:
    """E5: where they can be."""
    settings = WireSettings(public_url="https://example.com/auth", revocations_tokens=(FEED_TOKEN,))

    async with site(clock, settings) as here:
        answer = await here.ask("GET", METADATA)

    assert answer.json["revocations_uri"] == "https://example.com/auth/revocations"


async def test_the_process_is_up_whatever_the_store_does(here: Site) -> None:
    """A restart would help nobody."""
    here.break_down(StoreUnavailable())

    answer = await here.ask("GET", "/healthz")

    assert (answer.status, answer.data) == (200, {"status": "up"})


async def test_strangers_who_ask_whether_it_is_ready_share_one_try(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H6: each try writes to the disk."""
    check = AsyncMock()
    monkeypatch.setattr(here.sessions.store, "check", check)

    answers = await asyncio.gather(*(here.ask("GET", "/readyz") for _ in range(100)))
    answers.append(await here.ask("GET", "/readyz"))

    assert {answer.status for answer in answers} == {200}
    assert check.await_count == 1


async def test_it_is_ready_when_all_parts_are(here: Site) -> None:
    """Each part is named."""
    answer = await here.ask("GET", "/readyz")

    assert (answer.status, answer.data) == (200, {"store": "ready", "revocations": "ready"})


@pytest.mark.parametrize(
    ("down", "stale", "detail"),
    [
        (True, False, "Not ready: store"),
        (False, True, "Not ready: revocations"),
        (True, True, "Not ready: store, revocations"),
    ],
)
async def test_what_is_not_ready_is_named(
    here: Site, clock: Clock, *, down: bool, stale: bool, detail: str
) -> None:
    """503, so that nobody is sent here."""
    here.break_down(StoreUnavailable() if down else None)
    clock.sleep(31 if stale else 0)

    answer = await here.ask("GET", "/readyz")

    assert answer.verdict == (503, "unavailable")
    assert answer.json["detail"] == detail
    assert answer["retry-after"] == "1"
