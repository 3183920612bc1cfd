"""The doctor looks at the public URL: who answers there, and what becomes of a request."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

from keyturn.hooks.webhook import new_secret
from keyturn.server import front as front_module
from keyturn.server.doctor import examine
from keyturn.server.findings import Finding
from keyturn.server.secret_files import make_secret_file
from keyturn.server.settings import Settings, load_settings
from tests.certificates import certify
from tests.server.processes import run_keyturn, serving


class Proxy(BaseHTTPRequestHandler):
    """What speaks TLS before a server, with the flaws that it is given."""

    server: Front
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        front = self.server
        if self.path == front.unanswered:
            self.close_connection = True
            return
        status = 404 if self.path == front.hidden else front.status
        if status != 200:
            self._answer(status, {"Location": "https://elsewhere.example/"}, b"")
            return
        way = http.client.HTTPConnection("127.0.0.1", front.backend)
        way.request("GET", self.path, headers=self._passed_on())
        answer = way.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name != front.lost}
        self._answer(answer.status, kept, answer.read())
        way.close()

    def _passed_on(self) -> dict[str, str]:
        told = {name: self.headers[name] for name in ("Authorization",) if name in self.headers}
        invented = self.headers.get("X-Forwarded-For", "")
        forwarded = {
            "anew": self.client_address[0],
            "appended": f"{invented}, {self.client_address[0]}",
            "nothing": "",
        }[self.server.forwards]
        return told | ({"X-Forwarded-For": forwarded} if forwarded else {})

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Front(ThreadingHTTPServer):
    """Listens, and passes requests to ``backend``."""

    backend = 0
    status = 200
    hidden = ""
    unanswered = ""
    lost = ""
    forwards: Literal["anew", "appended", "nothing"] = "anew"


@dataclass
class Site:
    """A server behind a proxy, and what the doctor is told of them."""

    folder: Path
    front: Front
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        return load_settings({"KEYTURN_DATA_DIR": str(self.folder / "data"), **self.environment})

    async def findings(self, *, up: bool = True) -> dict[str, Finding]:
        """By the first words of their subjects."""
        found = await examine(self.settings, up=up)
        return {
            finding.subject.partition(" http")[0].partition(",")[0]: finding for finding in found
        }

    async def advice(self) -> list[str]:
        return [each.advice for each in (await self.findings()).values() if each.state == "wrong"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With nothing wrong."""
    certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate"))
    with fronting(tmp_path) as front:
        environment = {
            "KEYTURN_PUBLIC_URL": f"https://localhost:{front.server_port}",
            "KEYTURN_TRUSTED_PROXIES": "127.0.0.1",
        }
        with serving(tmp_path, **environment) as server:
            front.backend = server.port
            yield Site(tmp_path, front, environment)


@contextmanager
def fronting(folder: Path | None) -> Iterator[Front]:
    """With the certificate of the folder, if there is one."""
    front = Front(("127.0.0.1", 0), Proxy)
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate", folder / "key")
        front.socket = context.wrap_socket(front.socket, server_side=True)
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield front
    finally:
        front.shutdown()
        thread.join()
        front.server_close()


async def test_a_site_as_it_should_be_needs_no_advice(site: Site) -> None:
    """What was looked at is named all the same."""
    findings = await site.findings()

    assert await site.advice() == []
    assert {
        "public URL", "readiness", "https", "running server", "forwarded addresses"
    } <= findings.keys()  # fmt: skip


# ── who answers ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_proxy_that_reaches_nobody_is_found(site: Site, status: int) -> None:
    """Wrong only where a server is meant to run: before the first start none does."""
    site.front.status = status
    meant = (await site.findings())["public URL"]
    not_meant = (await site.findings(up=False))["public URL"]

    assert meant.advice == not_meant.advice
    assert f"nobody answers there (status {status} of a proxy)" in meant.advice
    assert (meant.state, not_meant.state) == ("wrong", "note")


async def test_a_place_where_nobody_listens_is_found(site: Site) -> None:
    """With what the machine says of it."""
    site.environment["KEYTURN_PUBLIC_URL"] = "https://localhost:9"

    assert (
        "nobody answers there (Connection refused)" in (await site.findings())["public URL"].advice
    )


async def test_a_certificate_that_is_refused_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Browsers would refuse it too."""
    monkeypatch.delenv("SSL_CERT_FILE")

    assert await site.advice() == [
        "its certificate is refused, also by browsers: self-signed certificate"
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (308, "it leads to https://elsewhere.example/: set KEYTURN_PUBLIC_URL to where users"),
        (404, "somebody else answers there (status 404)"),
    ],
)
async def test_a_place_that_is_not_ours_is_found(site: Site, status: int, told: str) -> None:
    """Cookies and origins would be of another host."""
    site.front.status = status

    assert told in (await site.advice())[0]


async def test_a_server_that_cannot_serve_is_found(site: Site) -> None:
    """Though the doctor itself reads the database, and what needs none is answered still."""
    replace_file(site)

    [advice] = await site.advice()
    assert advice.startswith("/readyz answers 503 (Not ready: store): users cannot sign in")


async def test_a_server_that_does_not_know_whether_it_is_ready_is_found(site: Site) -> None:
    """As where its database hangs."""
    site.front.unanswered = "/readyz"

    [advice] = await site.advice()
    assert advice.startswith("/readyz is not answered (Remote end closed connection")


async def test_who_hides_whether_a_server_is_ready_does_nothing_wrong(site: Site) -> None:
    """A proxy need not pass that question on."""
    replace_file(site)
    site.front.hidden = "/readyz"

    assert await site.advice() == []


def replace_file(site: Site) -> None:
    """By a copy: the server has another one open, and notices."""
    file = site.folder / "data" / "keyturn.db"
    copy = file.with_name("copy")
    assert run_keyturn(site.folder, "backup", str(copy)).returncode == 0
    copy.replace(file)


async def test_another_issuer_is_found(site: Site) -> None:
    """As where two servers are confused."""
    site.environment["KEYTURN_ISSUER"] = "https://login.example.com"

    assert "somebody else answers there (status 200)" in (await site.advice())[0]


async def test_a_server_on_another_database_is_found(site: Site) -> None:
    """It has other signing keys; commands would work on what nobody uses."""
    other = site.folder / "other"
    other.mkdir()
    run_keyturn(other, "init", **site.environment)
    site.environment["KEYTURN_DATA_DIR"] = str(other / "data")

    assert await site.advice() == [
        "the server there has none of the signing keys of this database: it is on another one"
    ]


async def test_a_server_that_was_not_restarted_is_found(site: Site) -> None:
    """H9: a new secret is in its settings, but not in the process."""
    new, old = site.folder / "new", site.folder / "data" / "secret"
    make_secret_file(new)
    site.environment["KEYTURN_SECRET_FILE"] = f"{new},{old}"

    assert (
        "it does not know the first of the secrets"
        in (await site.findings())["running server"].advice
    )


async def test_a_server_of_another_release_is_noted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As between an upgrade and the restart."""
    monkeypatch.setattr(front_module, "__version__", "9.9.9")
    server = (await site.findings())["running server"]

    assert server.state == "note"
    assert "this command is of release 9.9.9" in server.advice


async def test_a_server_whose_clock_is_wrong_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing was written by it of late."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10)

    assert (
        "its clock and the one here differ by" in (await site.findings())["running server"].advice
    )


# ── what happens on the way ─────────────────────────────────────────────────────────────────────


async def test_a_proxy_that_takes_hsts_away_is_found(site: Site) -> None:
    """Browsers would come by http again."""
    site.front.lost = "strict-transport-security"

    assert "answers have lost their Strict-Transport-Security" in (await site.advice())[0]


async def test_answers_over_plain_http_are_found(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not lead to https."""
    with fronting(None) as plain:
        plain.backend = site.front.backend
        monkeypatch.setattr(front_module, "_PLAIN_PORT", plain.server_port)
        told = await site.advice()
        plain.status = 308
        led = await site.advice()

    assert told == ["http:// is answered as well: let the proxy lead from there to https://"]
    assert led == []


async def test_a_proxy_that_is_not_trusted_is_found(site: Site) -> None:
    """H5: by the address that it has, not by what is written of it."""
    site.environment["KEYTURN_TRUSTED_PROXIES"] = "10.0.0.1"

    assert (
        "requests come from 127.0.0.1, which is not in KEYTURN_TRUSTED_PROXIES"
        in (await site.advice())[0]
    )


async def test_a_proxy_that_passes_on_what_clients_invent_is_found(site: Site) -> None:
    """H5: whether or not the last hop is right."""
    site.front.forwards = "appended"

    assert "so they can choose their address: let the proxy set it anew" in (await site.advice())[0]


async def test_a_proxy_that_tells_no_address_is_found(site: Site) -> None:
    """H5: all users would be one."""
    site.front.forwards = "nothing"

    assert "the proxy at 127.0.0.1 sends no X-Forwarded-For" in (await site.advice())[0]


# ── the webhook ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("127.0.0.1", ["its certificate is refused: "]),
        ("localhost", []),
        ("localhost:9", ["nobody answers there (Connection refused): events wait for it"]),
    ],
)
async def test_a_receiver_that_cannot_be_reached_is_found(
    site: Site, monkeypatch: pytest.MonkeyPatch, place: str, told: list[str]
) -> None:
    """By a connection alone: it is told of no event that did not happen."""
    if place == "127.0.0.1":
        monkeypatch.delenv("SSL_CERT_FILE")
        del site.environment["KEYTURN_PUBLIC_URL"]
    port = "" if ":" in place else f":{site.front.server_port}"
    site.environment["KEYTURN_WEBHOOK_URL"] = f"https://{place}{port}/hook"
    site.environment["KEYTURN_WEBHOOK_SECRET"] = new_secret(bytes(range(32)))
    webhook = (await site.findings())["webhook receiver"]

    assert [webhook.advice[: len(each)] for each in told] == told
    assert bool(webhook.advice) is bool(told)


# ── the mirror ──────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_sees_the_mirror(tmp_path: Path) -> None:
    """To a stranger it is as if there were nothing; also to who has another secret, or posts."""
    with serving(tmp_path) as server, server.client() as client:
        nothing = client.get("/nothing-here")
        answers = [
            client.get("/doctor"),
            client.get("/doctor", headers={"Authorization": "Bearer x"}),
            client.get("/doctor", headers={b"Authorization": b"B\xebarer"}),
            client.post("/doctor"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert answers[0].json()["code"] == nothing.json()["code"]


def test_a_development_server_is_looked_at_too(tmp_path: Path) -> None:
    """Over http, with no proxy to be looked at."""
    with serving(tmp_path) as server:
        settings = {"KEYTURN_PUBLIC_URL": server.url}
        found = run_keyturn(tmp_path, "doctor", "--up", **settings)

    assert found.returncode == 0, found.stdout
    assert f"ok    public URL {server.url}\n" in found.stdout
    assert "ok    running server" in found.stdout
    assert "forwarded" not in found.stdout
