"""The pages as values: which one is answered, to whom, and with what headers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import Device, EndReason
from keyturn.server.pages.rendering import read_texts
from keyturn.server.pages.routes import Pages
from keyturn.wire.http import Request
from keyturn.wire.request_ids import serve_under
from keyturn.wire.settings import CookieSettings, WireSettings
from tests.accounts.support import PASSWORD
from tests.support import Clock
from tests.wire.support import (
    ACCESS,
    CLIENT,
    ORIGIN,
    REFRESH,
    TRUSTED,
    Answer,
    Site,
    cookies_of,
    site,
)

NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
PUBLIC = ("/login", "/register", "/signed-out", "/reset-password", "/docs")
PRIVATE = ("/account", "/change-password", "/edit-profile", "/delete-account", "/logout")
PAST_ACCESS = 600
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Pagers:
    """Pages on a site, and what asks for them."""

    def __init__(self, here: Site, clock: Clock, service: str) -> None:
        self.here = here
        self.clock = clock
        self.pages = Pages(
            here.endpoints,
            here.sessions,
            here.accounts,
            service_name=service,
            password_length=12,
        )

    async def get(
        self,
        path: str,
        cookies: dict[str, str] | None = None,
        *,
        headers: dict[str, str] = NAVIGATION,
        method: str = "GET",
    ) -> Answer:
        path, _, query = path.partition("?")
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        if cookies:
            pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
            sent.append((b"cookie", pairs.encode()))
        request = Request(method, path, query.encode("latin-1"), sent, b"", CLIENT)
        return Answer(await self.pages.handle(request))


@asynccontextmanager
async def paged(
    clock: Clock, settings: WireSettings | None = None, service: str = "Keyturn", **options: Any
) -> AsyncIterator[Pagers]:
    async with site(clock, settings, **options) as here:
        yield Pagers(here, clock, service)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def there(clock: Clock) -> AsyncIterator[Pagers]:
    async with paged(clock) as pages:
        yield pages


# ── every page ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE, "/nothing"])
async def test_a_page_is_safe_to_receive(there: Pagers, path: str) -> None:
    """A9, B8: its own policy, without anything inline; not framed, not sniffed, not stored."""
    cookies = cookies_of(await there.here.log_in()) if path in PRIVATE else None

    answer = await there.get(path, cookies)

    assert answer["content-type"] == "text/html; charset=utf-8"
    assert answer["content-security-policy"] == POLICY
    assert answer["cross-origin-opener-policy"] == "same-origin"
    assert answer["cross-origin-resource-policy"] == "same-origin"
    assert answer["referrer-policy"] == "no-referrer"
    assert answer["strict-transport-security"] == "max-age=31536000"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["cache-control"] == "no-store"
    assert answer["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE, "/nothing"])
async def test_nothing_in_a_page_is_inline(there: Pagers, path: str) -> None:
    """Scripts and styles come from files, which the policy names; what is loaded is our own."""
    cookies = cookies_of(await there.here.log_in()) if path in PRIVATE else None

    html = (await there.get(path, cookies)).body.decode()

    assert re.findall(r"<script(?![^>]* src=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html) == []
    loaded = re.findall(r'<(?:script|img)[^>]* src="([^"]*)"|<link[^>]* href="([^"]*)"', html)
    assert loaded
    for source, link in loaded:
        assert (source or link).startswith("/static/")
        assert (await there.get(source or link)).status == 200


@pytest.mark.parametrize("path", [*PUBLIC, *PRIVATE])
async def test_head_is_get_without_the_body(there: Pagers, path: str) -> None:
    """RFC 9110, section 9.3.2."""
    cookies = cookies_of(await there.here.log_in())

    got = await there.get(path, cookies)
    headed = await there.get(path, cookies, method="HEAD")

    assert (headed.status, headed.headers, headed.body) == (got.status, got.headers, b"")


async def test_whatever_is_told_of_a_stranger_is_escaped(there: Pagers) -> None:
    """Names and devices are what people make of them."""
    evil = "<script>alert('1')</script>\"&"
    await there.here.accounts.register("<i>mallory", "m@example.com", evil, "verdant-owls")
    device = Device(user_agent=evil, address=evil)
    _, tokens = await there.here.accounts.login("<i>mallory", "verdant-owls", device=device)

    html = (await there.get("/account", cookies_of(tokens))).body.decode()

    assert "<script>alert" not in html
    assert "<i>" not in html
    assert "Hello, &lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&#34;&amp;" in html


@pytest.mark.parametrize("query", ["next=/%22%3E%3Cscript%3E", "reason=%3Cscript%3E", "notice=%3C"])
async def test_nothing_of_the_query_is_repeated_unescaped(there: Pagers, query: str) -> None:
    """Texts are looked up by it; only a destination is written, once it was judged."""
    for path in PUBLIC:
        assert b"><script>" not in (await there.get(f"{path}?{query}")).body


async def test_pages_name_the_service(clock: Clock) -> None:
    """As its users call it, and the least password it takes."""
    async with paged(clock, service="Ada & Co") as there:
        html = (await there.get("/register")).body.decode()

    assert "<title>Create an account · Ada &amp; Co</title>" in html
    assert "At least 12 characters" in html


async def test_a_page_says_that_it_needs_scripts(there: Pagers) -> None:
    """To whoever has none; and no form can be sent without."""
    html = (await there.get("/login")).body.decode()

    assert "<noscript>" in html
    assert "These pages need JavaScript" in html
    assert len(re.findall(r"<button[^>]* disabled", html)) == len(re.findall(r"<button", html))


async def test_a_base_path_is_part_of_every_link(clock: Clock) -> None:
    """Also of where one is led."""
    settings = WireSettings(public_url=ORIGIN + "/auth")

    async with paged(clock, settings) as there:
        html = (await there.get("/login")).body.decode()
        led_to = [(await there.get(path))["location"] for path in ("", "/", "/account")]

    links = re.findall(r'(?:href|src|action|data-base)="([^"]*)"', html)
    assert all(link.startswith("/auth/") for link in links)
    assert led_to == ["/auth/login", "/auth/login", "/auth/login?next=/auth/account"]


# ── whom a page is for ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["", "/"])
async def test_the_start_leads_on(there: Pagers, path: str) -> None:
    """To the account, or to the login page."""
    tokens = await there.here.log_in()

    assert (await there.get(path))["location"] == "/login"
    assert (await there.get(path, cookies_of(tokens)))["location"] == "/account"


@pytest.mark.parametrize(
    ("path", "led_to"),
    [
        ("/account", "/login?next=/account"),
        ("/change-password", "/login?next=/change-password"),
        ("/edit-profile", "/login?next=/edit-profile"),
        ("/delete-account", "/login?next=/delete-account"),
        ("/logout", "/signed-out"),
    ],
)
async def test_a_stranger_is_led_to_the_login_page(there: Pagers, path: str, led_to: str) -> None:
    """303, which no cache keeps."""
    answer = await there.get(path)

    assert (answer.status, answer["location"]) == (303, led_to)
    assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/login", "/register", "/signed-out"])
@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("", "/account"),
        ("/change-password", "/change-password"),
        ("//evil.example", "/account"),
        ("/a%0d%0aset-cookie:x=y", "/account"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("https://evil.example/", "/account"),
        (ORIGIN + "/x", ORIGIN + "/x"),
        ("/x&next=/y", "/account"),
    ],
)
async def test_whoever_is_signed_in_is_led_on(
    there: Pagers, path: str, asked: str, led_to: str
) -> None:
    """Where they were going, if that is ours; of two answers to that, neither."""
    tokens = await there.here.log_in()

    answer = await there.get(f"{path}?next={asked}", cookies_of(tokens))

    assert (answer.status, answer["location"]) == (303, led_to)


async def test_a_trusted_origin_may_be_where_one_is_going(clock: Clock) -> None:
    """The application is elsewhere; the login page is here."""
    settings = WireSettings(public_url=ORIGIN, trusted_origins=(TRUSTED,))

    async with paged(clock, settings) as there:
        html = (await there.get(f"/login?next={TRUSTED}/x")).body.decode()

    assert f'data-next="{TRUSTED}/x"' in html


@pytest.mark.parametrize("path", PRIVATE)
async def test_a_navigation_renews_in_passing(there: Pagers, path: str) -> None:
    """The page at once, with the cookies of the exchange."""
    tokens = await there.here.log_in()
    there.clock.sleep(PAST_ACCESS)

    answer = await there.get(path, cookies_of(tokens))

    assert answer.status == 200
    assert [line.partition("=")[0] for line in answer.set_cookies] == [ACCESS, REFRESH]
    (refresh_in,) = re.findall(rb'data-refresh-in="(\d+)"', answer.body)
    assert 300 <= int(refresh_in) <= 540


async def test_a_page_is_told_what_is_left_of_the_access_token(there: Pagers) -> None:
    """From that it reckons when to exchange."""
    tokens = await there.here.log_in()
    there.clock.sleep(100)

    answer = await there.get("/account", cookies_of(tokens))

    assert b'data-expires-in="500"' in answer.body
    assert b"data-refresh-in" not in answer.body


async def test_the_login_page_goes_on_trying_where_nothing_is_settled(there: Pagers) -> None:
    """A script fetches no page; whoever navigates with an old browser is led on by the script."""
    tokens = await there.here.log_in()
    there.clock.sleep(PAST_ACCESS)

    old_browser = await there.get("/login", cookies_of(tokens), headers={})
    stranger = await there.get("/login")

    assert b" data-resume" in old_browser.body
    assert b" data-resume" not in stranger.body


async def test_it_tries_where_the_refresh_cookie_cannot_be_seen(clock: Clock) -> None:
    """Narrowed to the exchange, only that tells whether there is one."""
    cookies = CookieSettings(prefix="__Secure-", refresh_path="/refresh-token")

    async with paged(clock, WireSettings(public_url=ORIGIN, cookies=cookies)) as there:
        answer = await there.get("/login")

    assert b" data-resume" in answer.body


@pytest.mark.parametrize("reason", list(EndReason))
async def test_whoever_is_signed_out_is_told_why(there: Pagers, reason: EndReason) -> None:
    """And comes back to where they were; no cookie is deleted on the way."""
    tokens = await there.here.log_in()
    await there.here.sessions.revoke(tokens.session.sid, reason=reason)
    cookies = cookies_of(tokens)

    led = await there.get("/account", cookies)
    told = await there.get(led["location"], cookies)

    assert led["location"] == f"/signed-out?reason={reason}&next=/account"
    assert led.set_cookies == told.set_cookies == []
    words = read_texts()["reasons"][reason]
    assert words in told.body.decode()
    assert b'href="/login?next=/account"' in told.body


async def test_a_kept_copy_is_told_as_such(there: Pagers) -> None:
    """C3: by whoever comes with it."""
    tokens = await there.here.log_in()
    latest = tokens.refresh_token
    for _ in range(3):
        there.clock.sleep(PAST_ACCESS)
        latest = (await there.here.sessions.refresh(latest)).refresh_token
    there.clock.sleep(PAST_ACCESS)

    led = await there.get("/account", cookies_of(tokens))

    assert led["location"] == "/signed-out?reason=reuse_detected&next=/account"


async def test_a_refusal_is_repeated_before_it_is_told(there: Pagers) -> None:
    """SPEC 4.2: with the cookies that the browser holds by then."""
    over, newer = await there.here.log_in(), await there.here.log_in()
    await there.here.sessions.revoke(over.session.sid)
    there.clock.sleep(PAST_ACCESS)

    led = await there.get("/account", cookies_of(over))
    back = await there.get(led["location"], cookies_of(newer))

    assert back["location"] == "/account"
    assert len(back.set_cookies) == 2


async def test_where_registration_is_closed_there_is_no_page(clock: Clock) -> None:
    """As without pages: programs are told that the method is wrong, people that nothing is here."""
    settings = WireSettings(public_url=ORIGIN, registration="closed")

    async with paged(clock, settings) as there:
        as_program = await there.get("/register", headers={})
        as_person = await there.get("/register")
        login = await there.get("/login")

    assert as_program.verdict == (405, "method_not_allowed")
    assert (as_person.status, as_person["allow"]) == (405, "POST")
    assert b"There is nothing here" in as_person.body
    assert b"/register" not in login.body


# ── beside the endpoints ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [{}, {"accept": "*/*"}, {"sec-fetch-dest": "empty"}])
async def test_programs_are_told_what_they_always_were(
    there: Pagers, headers: dict[str, str]
) -> None:
    """H1: a problem document, not a page."""
    answer = await there.get("/nothing", headers=headers)

    assert answer.verdict == (404, "not_found")
    assert answer["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("headers", [NAVIGATION, {"accept": "text/html,*/*;q=0.8"}])
async def test_people_are_told_that_nothing_is_here(there: Pagers, headers: dict[str, str]) -> None:
    """404, as a page with a way out."""
    answer = await there.get("/nothing", headers=headers)

    assert answer.status == 404
    assert b'href="/"' in answer.body


@pytest.mark.parametrize("path", ["/login", "/register", "/logout", "/reset-password"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
async def test_no_page_stands_in_the_way_of_an_endpoint(
    there: Pagers, path: str, method: str
) -> None:
    """What it takes, and the question before that, are answered as without pages."""
    headers = [(b"sec-fetch-dest", b"document"), (b"access-control-request-method", b"POST")]
    request = Request(method, path, b"", headers, b"", CLIENT)

    with_pages = await there.pages.handle(request)

    assert with_pages == await there.here.endpoints.handle(request)


async def test_a_page_changes_nothing(there: Pagers) -> None:
    """B1: what a script or an image of another page asks for ends no session and renews none."""
    tokens = await there.here.log_in()
    before = await there.here.sessions.list(tokens.session.user_id)
    there.clock.sleep(PAST_ACCESS)

    for path in (*PUBLIC, *PRIVATE):
        answer = await there.get(path, cookies_of(tokens), headers={"sec-fetch-dest": "image"})
        assert answer.set_cookies == []

    assert await there.here.sessions.list(tokens.session.user_id) == before


# ── our faults ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("fault", [StoreUnavailable(), RuntimeError("ktr_x"), OSError(5, "ktr_x")])
async def test_a_page_that_needs_a_user_is_503_while_we_are_at_fault(
    there: Pagers, path: str, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """C12, H1: never the login page, never a cookie deleted, nothing of the error told."""
    tokens = await there.here.log_in()
    there.clock.sleep(PAST_ACCESS)
    there.here.break_down(fault)

    answer = await there.get(path, cookies_of(tokens))

    assert (answer.status, answer["retry-after"]) == (503, "1")
    assert answer["content-type"] == "text/html; charset=utf-8"
    assert b"data-retry" in answer.body
    assert answer.set_cookies == []
    assert "ktr_" not in answer.body.decode() + caplog.text


async def test_whoever_sees_our_fault_can_tell_which_it_was(there: Pagers) -> None:
    """By the id that its lines in the log have."""
    tokens = await there.here.log_in()
    there.here.break_down(StoreUnavailable())
    serve_under("b7f3")

    answer = await there.get("/account", cookies_of(tokens))

    assert b"<code>b7f3</code>" in answer.body


@pytest.mark.parametrize("path", PUBLIC)
async def test_a_page_for_anybody_is_shown_to_a_stranger_then(
    there: Pagers, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """C12: the operator is told, the visitor need not be."""
    tokens = await there.here.log_in()
    there.clock.sleep(PAST_ACCESS)
    there.here.break_down(StoreUnavailable("The disk is full"))

    answer = await there.get(path, cookies_of(tokens))

    assert (answer.status, answer.set_cookies) == (200, [])
    assert "The disk is full" in caplog.text
    assert (b" data-resume" in answer.body) == (path == "/login")


async def test_a_renewal_is_not_lost_where_the_page_fails(
    there: Pagers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cookies of an exchange that was done are set, whatever becomes of the page."""
    tokens = await there.here.log_in()
    there.clock.sleep(PAST_ACCESS)

    async def fail(user_id: str) -> Any:
        raise StoreUnavailable

    monkeypatch.setattr(there.here.store, "list_sessions", fail, raising=False)
    answer = await there.get("/account", cookies_of(tokens))

    assert answer.status == 503
    assert len(answer.set_cookies) == 2


async def test_headers_that_are_too_long_are_said_to_be(there: Pagers) -> None:
    """H6: 431, as a page."""
    answer = await there.get("/login", headers=NAVIGATION | {"x": "y" * 33_000})

    assert answer.status == 431
    assert b"That was too much" in answer.body


# ── files ───────────────────────────────────────────────────────────────────────────────────────


async def script_path(there: Pagers) -> str:
    (path,) = re.findall(rb'<script type="module" src="([^"]*)"', (await there.get("/login")).body)
    return str(path.decode())


async def test_files_are_kept_for_ever_under_their_hash(there: Pagers) -> None:
    """And known by a tag."""
    path = await script_path(there)
    answer = await there.get(path)
    known = await there.get(path, headers={"if-none-match": answer["etag"]})

    assert answer["content-type"] == "text/javascript; charset=utf-8"
    assert answer["cache-control"] == "public, max-age=31536000, immutable"
    assert (known.status, known.body, known.all("content-length")) == (304, b"", [])


async def test_under_another_hash_they_are_asked_for_each_time(there: Pagers) -> None:
    """While servers are replaced one by one, the page may be of another release."""
    name = (await script_path(there)).rpartition("/")[2]

    answer = await there.get(f"/static/0123456789abcdef/{name}")

    assert (answer.status, answer["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/x",
        "/static/x/nothing.js",
        "/static/x/../routes.py",
        "/static/x/..%2froutes.py",
        "/static/../english.toml",
        "/static//etc/passwd",
    ],
)
async def test_there_are_no_other_files(there: Pagers, path: str) -> None:
    """Nothing is read from a path that somebody asks for."""
    assert (await there.get(path, headers={})).verdict == (404, "not_found")


async def test_the_browser_client_is_for_own_pages_too(clock: Clock) -> None:
    """Under a name that stays; pages of trusted origins may load it."""
    settings = WireSettings(public_url=ORIGIN, trusted_origins=(TRUSTED,))

    async with paged(clock, settings) as there:
        answer = await there.get("/keyturn.js", headers={"origin": TRUSTED})
        stranger = await there.get("/keyturn.js", headers={"origin": "https://evil.example"})

    assert b"export class Keyturn" in answer.body
    assert answer["cache-control"] == "no-cache"
    assert answer["access-control-allow-origin"] == TRUSTED
    assert stranger.all("access-control-allow-origin") == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/login", "GET, HEAD, POST"),
        ("/change-password", "GET, HEAD, POST"),
        ("/account", "GET, HEAD"),
        ("/", "GET, HEAD"),
        ("/me", "GET, HEAD, PATCH, DELETE"),
    ],
)
async def test_what_is_allowed_is_what_works(there: Pagers, path: str, allowed: str) -> None:
    """405 names the page and the endpoint that share a path."""
    answer = await there.get(path, headers={}, method="PUT")

    assert (answer.verdict, answer["allow"]) == ((405, "method_not_allowed"), allowed)


async def test_files_are_only_read(there: Pagers) -> None:
    """405 for whatever else."""
    answer = await there.get("/keyturn.js", headers={}, method="POST")

    assert (answer.verdict, answer["allow"]) == ((405, "method_not_allowed"), "GET, HEAD")


# ── the account ─────────────────────────────────────────────────────────────────────────────────


async def test_users_without_a_profile_in_their_token_are_known_all_the_same(
    there: Pagers,
) -> None:
    """The account is read from the database."""
    tokens = await there.here.sessions.create((await there.here.accounts.find_user("ada")).id)

    html = (await there.get("/account", cookies_of(tokens))).body.decode()

    assert "Hello, Ada Lovelace" in html
    assert "ada@example.com" in html


async def test_users_who_are_elsewhere_are_told_by_their_token(there: Pagers) -> None:
    """Their sessions were begun by an application that has users of its own."""
    tokens = await there.here.sessions.create("user-1")

    answer = await there.get("/account", cookies_of(tokens))

    assert answer.status == 200
    assert b"Hello, user-1" in answer.body


@pytest.mark.parametrize("notice", list(read_texts()["notices"]))
async def test_what_was_done_is_said_once_done(there: Pagers, notice: str) -> None:
    """By name; nothing else of the address is shown."""
    cookies = cookies_of(await there.here.log_in())

    said = await there.get(f"/account?notice={notice}", cookies)
    other = await there.get("/account?notice=anything", cookies)

    assert read_texts()["notices"][notice] in said.body.decode()
    assert b"anything" not in other.body


async def test_a_password_manager_learns_whose_password_it_is(there: Pagers) -> None:
    """The page that changes it names the user."""
    html = (await there.get("/change-password", cookies_of(await there.here.log_in()))).body

    assert b'value="Ada" autocomplete="username"' in html
    assert PASSWORD.encode() not in html
