"""Spans, for whoever collects them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from keyturn.accounts import PasswordHashing
from keyturn.core.errors import StoreUnavailable
from keyturn.server.tracing import Spans, Tracing, provider_in_use
from keyturn.wire.request_ids import serve_under
from tests.accounts.support import PASSWORD, InstantHasher
from tests.server.processes import register, serving, sign_in
from tests.support import Clock
from tests.wire.support import Site, site

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
TRACED = (sys.executable, "-m", "tests.server.traced")
LOGIN = {"username": "ada", "password": PASSWORD}


class Collector:
    """Whoever collects spans, and what they collected."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def __getitem__(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    @asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """A site whose requests are traced."""
        async with site(Clock(), observer=Spans(self.provider)) as here:
            tracing = Tracing(self.provider, here.endpoints.handle, "https")
            here.endpoints.handle = tracing.handle  # type: ignore[method-assign]
            yield here


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.provider.shutdown()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_is_a_span_of_its_caller_s_trace(collector: Collector) -> None:
    """By the conventions of HTTP servers, and with the id that log and answer have."""
    serve_under("b7f3")
    async with collector.site() as here:
        await here.ask("POST", "/refresh-token", headers={"traceparent": CALLER})

    span = collector["POST /refresh-token"]
    assert (span.kind, span.status.is_ok) == (SpanKind.SERVER, True)
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/refresh-token",
        "http.response.status_code": 401,
        "url.path": "/refresh-token",
        "url.scheme": "https",
        "keyturn.request_id": "b7f3",
        "keyturn.code": "refresh_token_missing",
    }


async def test_what_an_exchange_took_is_in_it(collector: Collector) -> None:
    """The verdict, and each call of the store; within the time that the request took."""
    async with collector.site() as here:
        tokens = await here.log_in()
        body = {"refreshToken": tokens.refresh_token}
        await here.ask("POST", "/refresh-token", body)

    request, exchange = collector["POST /refresh-token"], collector["exchange"]
    assert collector.names == ["store get", "store swap", "exchange", "POST /refresh-token"]
    assert attributes(exchange) == {"keyturn.verdict": "rotate"}
    assert attributes(collector["store swap"]) == {"keyturn.rows": 1}
    for span in collector.spans[:-1]:
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id


async def test_a_refusal_is_no_error_and_a_failure_is(collector: Collector) -> None:
    """By the conventions, what the client did wrong is none of ours."""
    async with collector.site() as here:
        tokens = await here.log_in()
        here.break_down(StoreUnavailable("locked"))
        await here.ask("GET", "/nowhere")
        await here.ask("POST", "/refresh-token", {"refreshToken": tokens.refresh_token})

    refused, failed = collector["GET"], collector["POST /refresh-token"]
    assert refused.status.is_unset
    assert attributes(refused)["keyturn.code"] == "not_found"
    assert "error.type" not in attributes(refused)
    assert not failed.status.is_ok
    assert attributes(failed)["error.type"] == "503"
    assert attributes(failed)["keyturn.code"] == "unavailable"
    assert not collector["store get"].status.is_ok


async def test_hashing_a_password_is_in_it(collector: Collector) -> None:
    """F9: with the time that it had to wait."""
    spans = Spans(collector.provider)
    hashing = PasswordHashing(InstantHasher(), observer=spans)
    tracer = collector.provider.get_tracer("test")
    with tracer.start_as_current_span("request"):
        await hashing.hash(PASSWORD)
    hashing.close()

    assert collector.names == ["hash", "request"]
    assert attributes(collector["hash"])["keyturn.waited"] >= 0


async def test_what_belongs_to_no_request_is_no_span(collector: Collector) -> None:
    """Nor what belongs to one that nobody collects: such as following revocations."""
    async with collector.site() as here:
        tokens = await here.log_in()
        await here.sessions.refresh(tokens.refresh_token)
        await here.sessions.catch_up()

    assert collector.names == []


async def test_requests_at_once_keep_their_spans_apart(collector: Collector) -> None:
    """Whoever shares the exchange of another has no part of it; nobody has that of a stranger."""
    async with collector.site() as here:
        bodies = [{"refreshToken": (await here.log_in()).refresh_token} for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for body in [*bodies, bodies[0]]:
                group.create_task(here.ask("POST", "/refresh-token", body))

    requests = [span for span in collector.spans if span.name == "POST /refresh-token"]
    exchanges = [span for span in collector.spans if span.name == "exchange"]
    parents = {span.parent.span_id for span in exchanges if span.parent is not None}
    assert (len(requests), len(exchanges), len(parents)) == (4, 3, 3)
    assert parents < {span.context.span_id for span in requests}


async def test_a_span_tells_of_nobody_and_holds_no_token(collector: Collector) -> None:
    """D11, H3: wherever a token was put, and whoever asks."""
    async with collector.site() as here:
        login = await here.ask("POST", "/login", LOGIN)
        access, refresh = login.data["accessToken"], login.data["refreshToken"]
        sid, user = here.sessions.read(access).sid, login.data["user"]["id"]
        for token in (access, refresh):
            serve_under(token)
            await here.ask("GET", f"/{token}", query=token, bearer=token)
            await here.ask("POST", "/refresh-token", {"refreshToken": token})
            await here.ask("GET", "/me", headers={"user-agent": token}, bearer=token)
        await here.ask("DELETE", f"/sessions/{sid}", bearer=access)
        await here.ask("GET", "/" + "x" * 9999)

    told = "\n".join(span.to_json() for span in collector.spans)
    written = re.sub(r'"0x[0-9a-f]{16,32}"', "", told)  # random ids, in which any name may turn up
    names = {span.name for span in collector.spans}
    assert "DELETE /sessions/{sid}" in names
    for secret in (access[10:], refresh[10:], sid, user, "ada", "192.0.2.1", PASSWORD, "x" * 300):
        assert secret not in written


async def test_strangers_cannot_make_up_names(collector: Collector) -> None:
    """H6: nor methods."""
    async with collector.site() as here:
        await here.ask("PURGE", "/nowhere/1")
        await here.ask("GET", "/nowhere/2")

    assert collector.names == ["HTTP", "GET"]
    assert attributes(collector["HTTP"])["http.request.method"] == "_OTHER"


def test_where_nobody_collects_there_is_nobody() -> None:
    """Then no request is wrapped, and nothing is told."""
    assert provider_in_use() is None


@pytest.mark.parametrize("options", [[], ["--workers", "2"]])
def test_a_server_under_a_collector_tells_everything(tmp_path: Path, options: list[str]) -> None:
    """Also what is held back as it stops, which it does beside a thread of somebody else."""
    spans = tmp_path / "spans"
    with serving(tmp_path, *options, command=TRACED, SPANS=str(spans)) as server:
        with server.client() as client:
            register(client)
            sign_in(client)
        answer = httpx.get(f"{server.url}/me", headers={"traceparent": CALLER})
        code = server.stop()

    told = [json.loads(line) for line in spans.read_text().splitlines()]
    (me,) = [span for span in told if span["name"] == "GET /me"]
    login = {span["name"]: span for span in told if span["name"] in {"POST /login", "hash"}}
    assert code == 0
    assert me["context"]["trace_id"] == f"0x{TRACE}"
    assert me["attributes"]["keyturn.request_id"] == answer.headers["x-request-id"]
    assert me["resource"]["attributes"]["service.name"] == "keyturn"
    assert login.keys() == {"POST /login", "hash"}
