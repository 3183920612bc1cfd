"""The webhook, read by a receiver that knows Standard Webhooks from elsewhere."""

from __future__ import annotations

import json
import time
from base64 import b64encode

import httpx
import pytest
import standardwebhooks

from keyturn.core.errors import ConfigurationError
from keyturn.core.model import Device, EndReason, Event, EventKind
from keyturn.hooks import Delivery, Webhook, WebhookRefused
from keyturn.hooks.webhook import new_secret

URL = "https://example.com/hook"
SECRET = new_secret(bytes(range(32)))
OTHER_SECRET = new_secret(bytes(32))
NOW = 1_800_000_000
EVENT = Event(
    at=1_800_000_000,
    kind=EventKind.ENDED,
    user_id="ada",
    sid="AAAAAAAAAAAAAAAAAAAAAA",
    reason=EndReason.REUSE_DETECTED,
    device=Device(user_agent="Firefox", address="192.0.2.1"),
)
DELIVERY = Delivery(id="0123456789abcdef0123456789abcdef", hook="webhook", event=EVENT, due_at=NOW)


class Receiver:
    """Answers with ``status``, and keeps what it got."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        elsewhere = {"location": "https://elsewhere.example"}
        return httpx.Response(self.status, headers=elsewhere, stream=httpx.ByteStream(b"Thanks"))

    def webhook(self, *secrets: str, url: str = URL) -> Webhook:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self), follow_redirects=True)
        # A receiver refuses what is old, so the time is its own.
        return Webhook(url, secrets or [SECRET], client=client, clock=time.time)


async def told(*secrets: str, event: Event = EVENT) -> httpx.Request:
    receiver = Receiver()
    webhook = receiver.webhook(*secrets)
    await webhook(Delivery(id=DELIVERY.id, hook="webhook", event=event, due_at=NOW))
    await webhook.aclose()
    [request] = receiver.requests
    return request


async def test_a_receiver_that_knows_the_standard_believes_it() -> None:
    request = await told()

    told_of = standardwebhooks.Webhook(SECRET).verify(request.content, dict(request.headers))
    assert told_of == {
        "type": "ended",
        "timestamp": "2027-01-15T08:00:00Z",
        "data": {
            "userId": "ada",
            "sid": "AAAAAAAAAAAAAAAAAAAAAA",
            "reason": "reuse_detected",
            "address": "192.0.2.1",
            "userAgent": "Firefox",
        },
    }
    assert request.headers["webhook-id"] == DELIVERY.id
    assert request.headers["content-type"] == "application/json"


async def test_what_is_not_known_is_left_out() -> None:
    request = await told(event=Event(at=0, kind=EventKind.CLAIMS_CHANGED, user_id="ada"))

    assert json.loads(request.content)["data"] == {"userId": "ada"}


async def test_a_receiver_that_knows_another_secret_refuses_it() -> None:
    request = await told()

    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(OTHER_SECRET).verify(request.content, dict(request.headers))


@pytest.mark.parametrize("known", [SECRET, OTHER_SECRET])
async def test_while_secrets_change_either_is_good(known: str) -> None:
    request = await told(SECRET, OTHER_SECRET)

    assert standardwebhooks.Webhook(known).verify(request.content, dict(request.headers))


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
async def test_any_other_answer_than_2xx_is_a_failure(status: int) -> None:
    """A redirect too, whatever the client does otherwise: a signed event goes nowhere else."""
    receiver = Receiver(status)

    with pytest.raises(WebhookRefused, match=f"the answer was {status}"):
        await receiver.webhook()(DELIVERY)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "ftp://example.com",
        "https://",
        "example.com/hook",
        "https://[",
        "",
    ],
)
def test_a_url_in_the_clear_or_of_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="webhook_url"):
        Receiver().webhook(url=url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/hook", "http://localhost/", URL])
async def test_this_machine_may_be_told_in_the_clear(url: str) -> None:
    receiver = Receiver()
    await receiver.webhook(url=url)(DELIVERY)

    assert str(receiver.requests[0].url) == url


@pytest.mark.parametrize(
    "secret",
    [
        "",
        SECRET.removeprefix("whsec_"),
        "whsec_",
        "whsec_###",
        "whsec_" + "é" * 32,
        "whsec_" + b64encode(bytes(23)).decode(),
        "whsec_" + b64encode(bytes(65)).decode(),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_told(secret: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Receiver().webhook(secret)
    assert len(secret) < 10 or secret not in str(refused.value)


def test_without_a_secret_nothing_is_told() -> None:
    with pytest.raises(ConfigurationError, match="keyturn webhook secret"):
        Webhook(URL, [])
