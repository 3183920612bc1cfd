"""What holds for every answer, and for every endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from keyturn.core.errors import StoreUnavailable
from keyturn.wire.openapi import describe
from keyturn.wire.routes import ROUTES, Route
from keyturn.wire.settings import CookieSettings, WireSettings
from tests.accounts.support import PASSWORD
from tests.support import Clock
from tests.wire.support import (
    EVERYTHING,
    FEED_TOKEN,
    ORIGIN,
    PAGE,
    STRANGER,
    TRUSTED,
    Answer,
    Site,
    cookies_of,
    site,
)

BODIES: dict[str, dict[str, Any]] = {
    "register": {
        "username": "Grace",
        "email": "grace@example.com",
        "fullname": "Grace Hopper",
        "password": PASSWORD,
    },
    "login": {"username": "ada", "password": PASSWORD},
    "refresh": {},
    "changePassword": {"currentPassword": PASSWORD, "newPassword": PASSWORD},
    "resetPassword": {"token": "", "newPassword": PASSWORD},
    "changeProfile": {"email": "countess@example.com", "currentPassword": PASSWORD},
    "deleteAccount": {"currentPassword": PASSWORD},
}

every_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
every_change = pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.changes], ids=lambda route: route.operation
)
SETS_COOKIES = {"login", "refresh", "logout", "changePassword", "deleteAccount"}


async def ask(here: Site, route: Route, **more: Any) -> Answer:
    """Ask as a signed-in page would, or a service that follows, and rightly."""
    tokens = await here.log_in()
    other = await here.log_in()
    path = route.path.replace("{sid}", other.session.sid)
    more.setdefault("headers", PAGE)
    more.setdefault("method", route.method)
    more.setdefault("body", BODIES.get(route.operation))
    if route.follows:
        more.setdefault("bearer", FEED_TOKEN)
    if route.operation == "resetPassword" and more["body"] == BODIES["resetPassword"]:
        token = await here.accounts.make_reset_token(tokens.session.user_id)
        more["body"] = more["body"] | {"token": token}
    await here.sessions.catch_up()
    return await here.ask(path=path, cookies=cookies_of(tokens), **more)


def allowed_at(path: str) -> list[str]:
    """What is answered there; HEAD where GET is."""
    methods = [route.method for route in ROUTES if route.path == path]
    return [
        each for method in methods for each in ([method, "HEAD"] if method == "GET" else [method])
    ]


# ── headers ─────────────────────────────────────────────────────────────────────────────────────


def assert_safe(answer: Answer) -> None:
    assert answer["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer["cross-origin-resource-policy"] == "same-origin"
    assert answer["referrer-policy"] == "no-referrer"
    assert answer["strict-transport-security"] == "max-age=31536000"
    assert answer["vary"] == "Origin, Sec-Fetch-Site"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer.all("server") == answer.all("x-powered-by") == []
    length = str(len(answer.body))
    assert answer.all("content-length") == ([length] if answer.stream is None else [])


@every_route
async def test_an_answer_is_safe_to_receive(here: Site, route: Route) -> None:
    """A9, B6, B8, H8: not framed, not sniffed, not stored, over https, without our version."""
    answer = await ask(here, route)

    assert answer.status == route.status
    assert_safe(answer)
    if route.operation != "jwks":
        assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/login", None, 405),
        ("OPTIONS", "/login", None, 405),
        ("POST", "/login", b"x" * 65537, 413),
        ("POST", "/login", b"{}", 415),
        ("POST", "/login", {}, 400),
        ("POST", "/login", {"username": "a", "password": "b"}, 401),
        ("POST", "/refresh-token", None, 401),
    ],
)
async def test_so_is_a_refusal(here: Site, method: str, path: str, body: Any, status: int) -> None:
    """A9, B8, H1: a problem document whose status is that of the answer."""
    answer = await here.ask(method, path, body)

    problem = answer.json
    assert answer.status == problem["status"] == status
    assert answer["content-type"] == "application/problem+json"
    assert answer["cache-control"] == "no-store"
    assert problem["type"] == f"urn:keyturn:problem:{problem['code']}"
    assert problem["title"]
    assert problem["detail"] == problem["message"] != ""
    assert problem["remedy"] in {"retry", "refresh", "login", "none"}
    assert_safe(answer)


async def test_hsts_is_sent_where_users_come_by_https(clock: Clock) -> None:
    """B8: on plain http of a development machine it would lock its user out."""
    settings = WireSettings(
        public_url="http://localhost:8000", cookies=CookieSettings(insecure_http=True)
    )

    async with site(clock, settings) as here:
        answer = await here.ask("GET", "/healthz")

    assert answer.all("strict-transport-security") == []


@every_route
async def test_only_cookies_that_are_bound_to_the_host_are_set(here: Site, route: Route) -> None:
    """A1, A2, A3, A4, A10: prefix, Secure, HttpOnly, SameSite; fit for every browser."""
    answer = await ask(here, route)

    assert bool(answer.set_cookies) == (route.operation in SETS_COOKIES)
    for line in answer.set_cookies:
        pair, *attributes = line.split("; ")
        name, _, value = pair.partition("=")
        assert name in {"__Host-accessToken", "__Host-refreshToken"}
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(attributes)
        assert not any(attribute.startswith("Domain") for attribute in attributes)
        assert set(value) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
        )
        assert len(pair) <= 4096


async def test_cookies_of_a_development_machine_are_plain(clock: Clock) -> None:
    """A11: only where a setting whose name warns says so."""
    settings = WireSettings(
        public_url="http://localhost:8000", cookies=CookieSettings(insecure_http=True)
    )

    async with site(clock, settings) as here:
        answer = await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})
        refreshed = await here.ask(
            "POST", "/refresh-token", cookies={"refreshToken": answer.data["refreshToken"]}
        )

    assert {line.partition("=")[0] for line in answer.set_cookies} == {
        "accessToken",
        "refreshToken",
    }
    assert not any("Secure" in line for line in answer.set_cookies)
    assert refreshed.status == 200


# ── methods and paths ───────────────────────────────────────────────────────────────────────────


@every_change
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "TRACE", "CONNECT", "post", "X"])
async def test_nothing_is_changed_by_another_method(here: Site, route: Route, method: str) -> None:
    """B1, H8: 405 with what is allowed; method overrides are not heard of."""
    if method in allowed_at(route.path):
        return
    override = PAGE | {"x-http-method-override": route.method, "x-method-override": route.method}

    answer = await ask(
        here, route, method=method, headers=override, query=f"_method={route.method}"
    )

    assert answer.status == 405
    assert answer["allow"].split(", ") == allowed_at(route.path)
    assert answer.set_cookies == []
    assert len(await here.living()) == 2


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if not route.changes], ids=lambda route: route.operation
)
async def test_head_is_get_without_the_body(here: Site, route: Route) -> None:
    """RFC 9110, section 9.3.2: the same headers, of the length that GET would have."""
    got = await ask(here, route)
    headed = await ask(here, route, method="HEAD")

    assert (headed.status, headed.body, headed.stream) == (got.status, b"", None)
    assert (got.stream is not None) == route.follows
    if route.operation not in {"listSessions", "exportData"}:  # each asking signs in anew
        assert headed.headers == got.headers
    assert (await ask(here, route, method="POST"))["allow"].split(", ") == allowed_at(route.path)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/Login", "/login/", "//login", "/login;x", "/sessions/a/b", "/\0", "/é", "/metrics"],
)
async def test_an_unknown_path_is_not_found(here: Site, path: str) -> None:
    """404, and the answer does not repeat it."""
    answer = await here.ask("POST", path)

    assert answer.verdict == (404, "not_found")
    assert answer.json["detail"] == "There is nothing here"


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────


@every_route
async def test_headers_beyond_32_kib_are_refused(here: Site, route: Route) -> None:
    """H6: 431, before anything is looked at; up to there they are fine."""
    room = 32 * 1024 - sum(len(name) + len(value) for name, value in PAGE.items())
    tokens = await here.log_in()
    room -= len("cookie") + sum(len(n) + len(v) + 1 for n, v in cookies_of(tokens).items()) + 2
    room -= len("content-type" + "application/json") if route.operation in BODIES else 0
    room -= len("authorization" + "Bearer " + FEED_TOKEN) if route.follows else 0

    beyond = await ask(here, route, headers=PAGE | {"x": "y" * room})
    fitting = await ask(here, route, headers=PAGE | {"x": "y" * (room - 1)})

    assert fitting.status == route.status
    assert beyond.verdict == (431, "headers_too_large")


@every_change
async def test_bodies_beyond_64_kib_are_refused(here: Site, route: Route) -> None:
    """H6: 413, whether they are that long or announced to be; up to there they are read."""
    json = PAGE | {"content-type": "application/json"}
    announced = PAGE | {"content-length": "65537"}

    fitting = await ask(here, route, headers=json, body=b"[" + b" " * 65534 + b"]")
    beyond = await ask(here, route, headers=json, body=b"[" + b" " * 65535 + b"]")
    on_the_way = await ask(here, route, headers=announced)
    endless = await ask(here, route, headers=PAGE | {"content-length": "9" * 5000})

    assert fitting.verdict == (400, "body_malformed")
    assert beyond.verdict == on_the_way.verdict == endless.verdict == (413, "body_too_large")


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────


@every_change
@pytest.mark.parametrize(
    "content_type", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", ""]
)
async def test_a_form_changes_nothing(here: Site, route: Route, content_type: str) -> None:
    """B3: these are what a page of another site can send without asking."""
    headers = PAGE | {"content-type": content_type}

    answer = await ask(here, route, headers=headers, body=b'{"refreshToken": ""}')

    assert answer.verdict == (415, "unsupported_media_type")
    assert len(await here.living()) == 2


@every_change
async def test_a_field_that_is_not_asked_for_is_refused(here: Site, route: Route) -> None:
    """H7: by every endpoint, also by those that ask for none."""
    answer = await ask(here, route, body={"isAdmin": True})

    assert answer.verdict == (400, "invalid_field")
    assert answer.json["field"] == "isAdmin"


# ── other origins ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sharing() -> WireSettings:
    return structs.replace(EVERYTHING, trusted_origins=(TRUSTED,))


@pytest.mark.parametrize("origin", [STRANGER, "null", "*", ORIGIN + ".evil.example", ORIGIN])
@every_route
async def test_no_other_origin_is_let_to_read(
    clock: Clock, sharing: WireSettings, route: Route, origin: str
) -> None:
    """B5: nothing is reflected, no wildcard, no null; a preflight is refused."""
    asked = {"origin": origin, "access-control-request-method": route.method}

    async with site(clock, sharing) as here:
        preflight = await ask(here, route, method="OPTIONS", headers=asked)
        answer = await ask(here, route, headers={"origin": origin})

    assert preflight.verdict == (403, "cross_origin")
    assert not [name for name, _ in answer.headers if name.startswith(b"access-control")]
    assert not [name for name, _ in preflight.headers if name.startswith(b"access-control")]


@every_route
async def test_a_trusted_origin_may_ask_and_read(
    clock: Clock, sharing: WireSettings, route: Route
) -> None:
    """B5, B6: named exactly, with credentials; refusals can be read too."""
    if route.operation == "refresh":
        return  # which has a rule of its own
    page = {"origin": TRUSTED, "sec-fetch-site": "same-site"}
    asked = page | {"access-control-request-method": route.method}

    async with site(clock, sharing) as here:
        preflight = await ask(here, route, method="OPTIONS", headers=asked, body=None)
        answer = await ask(here, route, headers=page)
        here.break_down(StoreUnavailable())
        refused = await here.ask("GET", "/nothing", headers=page)

    assert preflight.status == 204
    assert route.method in preflight["access-control-allow-methods"].split(", ")
    assert preflight["access-control-allow-headers"] == "Authorization, Content-Type"
    assert preflight.all("content-length") == []
    assert answer.status == route.status
    for seen in (preflight, answer, refused):
        assert seen["access-control-allow-origin"] == TRUSTED
        assert seen["access-control-allow-credentials"] == "true"
        exposed = seen["access-control-expose-headers"]
        assert exposed == "Retry-After, WWW-Authenticate, X-Request-Id"
        assert seen["vary"] == "Origin, Sec-Fetch-Site"


async def test_a_trusted_page_is_told_no_tokens(clock: Clock, sharing: WireSettings) -> None:
    """A2: trusted to ask, not to hold."""
    async with site(clock, sharing) as here:
        body = {"username": "ada", "password": PASSWORD}
        answer = await here.ask("POST", "/login", body, headers={"origin": TRUSTED})

    assert "accessToken" not in answer.data
    assert len(answer.set_cookies) == 2


@pytest.mark.parametrize("host", ["evil.example", "app.example.com", ""])
async def test_nothing_is_built_from_the_host_header(here: Site, host: str) -> None:
    """H5, E5: neither who is trusted nor what is told of the server."""
    spoofed = {"host": host, "x-forwarded-host": host, "x-forwarded-proto": "http"}

    as_page = await here.ask("POST", "/logout", headers=spoofed | {"origin": f"https://{host}"})
    metadata = await here.ask("GET", "/.well-known/oauth-authorization-server", headers=spoofed)

    assert as_page.verdict == (403, "cross_origin")
    assert metadata.json["issuer"] == ORIGIN


# ── our faults ──────────────────────────────────────────────────────────────────────────────────

NEEDS_NO_STORE = {"me", "jwks", "metadata", "followRevocations", "healthz", "openapi"}


@every_route
@pytest.mark.parametrize(
    "fault",
    [StoreUnavailable(), RuntimeError("ktr_secret"), KeyError("ktr_secret"), OSError(28, "full")],
    ids=lambda fault: type(fault).__name__,
)
async def test_whatever_fails_behind_us_is_503(
    here: Site, route: Route, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """C12, H1, H4: never 401, never a trace of what happened, never a cookie but at logout."""
    tokens = await here.log_in()
    path = route.path.replace("{sid}", tokens.session.sid)
    body = BODIES.get(route.operation)
    await here.sessions.catch_up()
    here.break_down(fault)

    bearer = FEED_TOKEN if route.follows else None
    answer = await here.ask(
        route.method, path, body, headers=PAGE, cookies=cookies_of(tokens), bearer=bearer
    )

    if route.operation in NEEDS_NO_STORE:
        assert answer.status == 200
        return
    assert answer.verdict == (503, "unavailable")
    assert answer["retry-after"] == "1"
    assert answer.json["remedy"] == "retry"
    assert bool(answer.set_cookies) == (route.operation == "logout")
    assert "ktr_" not in answer.body.decode() + caplog.text
    here.break_down(None)
    assert len(await here.living()) == 1


async def test_what_was_not_foreseen_is_logged_with_its_place(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H1: but without the error's own words, which may hold a token."""
    here.break_down(RuntimeError("ktr_secret"))

    await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})

    (line,) = [record for record in caplog.records if record.name == "keyturn"]
    assert line.levelname == "ERROR"
    assert "RuntimeError" in line.getMessage()
    assert "service.py" in line.getMessage()
    assert "ktr_secret" not in caplog.text


async def test_a_refusal_is_no_fault_of_ours(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    """H1: it is not logged as one."""
    await here.ask("GET", "/me")
    here.break_down(StoreUnavailable())
    await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_what_is_revoked_must_be_known(here: Site, clock: Clock) -> None:
    """H4: beyond the allowed staleness nobody is let in, where settings say so; and it is 503."""
    async with site(clock, on_stale="refuse", max_staleness=30) as strict:
        tokens = await strict.log_in()
        fresh = await strict.ask("GET", "/me", cookies=cookies_of(tokens))
        clock.sleep(31)
        stale = await strict.ask("GET", "/me", cookies=cookies_of(tokens))

    assert fresh.status == 200
    assert stale.verdict == (503, "unavailable")


# ── the OpenAPI document ────────────────────────────────────────────────────────────────────────


async def test_the_document_describes_every_endpoint_and_no_other(here: Site) -> None:
    """Each with all statuses and codes; that none is missing is checked at every answer here."""
    document = (await here.ask("GET", "/openapi.json")).json

    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert document["openapi"] == "3.1.0"
    assert described == {(route.method, route.path) for route in ROUTES}
    assert document["servers"] == [{"url": ORIGIN}]


def test_every_reference_in_the_document_leads_somewhere() -> None:
    """A generator of clients can follow them."""
    document = describe(ROUTES, WireSettings(public_url=ORIGIN))

    references = set(references_in(document))
    assert references
    assert references <= {
        f"#/components/schemas/{name}" for name in document["components"]["schemas"]
    }


def references_in(node: Any) -> list[str]:
    if isinstance(node, list):
        return [found for part in node for found in references_in(part)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if "$ref" in node else []
    return own + [found for part in node.values() for found in references_in(part)]


def test_the_document_knows_the_names_on_the_wire() -> None:
    """Fields are camelCase, what may be left out is not required, and nothing else is allowed in
    the answer than what the shapes have.
    """
    schemas = describe(ROUTES, WireSettings(public_url=ORIGIN))["components"]["schemas"]

    assert set(schemas["SignedIn"]["properties"]) == {
        "user",
        "accessToken",
        "refreshToken",
        "expiresIn",
        "refreshAt",
        "refreshExpiresIn",
    }
    assert schemas["Login"]["required"] == ["password"]
    assert "accessToken" not in schemas["SignedIn"]["required"]
    assert schemas["Problem"]["required"] == [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "message",
        "remedy",
    ]
