"""The configurations of ``deploy/`` in real proxies, with TLS, in front of a real server."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from keyturn import AccessTokenRevoked, Verifier
from tests.certificates import certify
from tests.postgresql import free_port
from tests.server.processes import (
    ADA,
    PATIENCE,
    Server,
    register,
    run_keyturn,
    serving,
    until,
)

FEED_TOKEN = "a-token-of-the-services-that-follow"
DEPLOY = Path(__file__).parents[2] / "deploy"


class Proxy(NamedTuple):
    """A client of a proxy, which believes its certificate, and the server behind it."""

    client: httpx.Client
    server: Server
    trust: ssl.SSLContext


@contextmanager
def nginx(folder: Path, port: int, plain: int, backend: int) -> Iterator[None]:
    """As deployed, but for the ports and the certificate."""
    site = _changed(
        DEPLOY / "nginx.conf",
        {
            "127.0.0.1:8000": f"127.0.0.1:{backend}",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "    listen [::]:80;\n": "",
            "    listen [::]:443 ssl http2;\n": "",
            "server_name login.example.com;": "server_name localhost;",
            "/etc/ssl/login.example.com.pem": str(folder / "certificate"),
            "/etc/ssl/private/login.example.com.key": str(folder / "key"),
        },
    )
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"""
        daemon off; pid {folder}/pid; error_log {folder}/log; user root;
        events {{}}
        http {{ access_log off; {temporary} {site} }}"""
    (folder / "nginx.conf").write_text(main)
    command = [_installed("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
    with _running(command, folder, port):
        yield


@contextmanager
def caddy(folder: Path, port: int, plain: int, backend: int) -> Iterator[None]:
    """As deployed, but for the ports and the certificate."""
    site = _changed(
        DEPLOY / "Caddyfile",
        {
            "127.0.0.1:8000": f"127.0.0.1:{backend}",
            "login.example.com {": f"localhost:{port} {{\n\tbind 127.0.0.1\n"
            f"\ttls {folder / 'certificate'} {folder / 'key'}",
        },
    )
    options = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\thttp_port {plain}\n}}\n"
    (folder / "Caddyfile").write_text(options + site)
    command = [_installed("caddy"), "run", "--config", str(folder / "Caddyfile")]
    with _running([*command, "--adapter", "caddyfile"], folder, port):
        yield


def _changed(file: Path, changes: dict[str, str]) -> str:
    text = file.read_text()
    for old, new in changes.items():
        assert old in text, f"{file.name} has no {old!r}"
        text = text.replace(old, new)
    return text


def _installed(program: str) -> str:
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{program} is needed: sudo apt-get install -y nginx-light caddy")
    return found


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    environment = {"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        _until_it_listens(process, port, folder)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _until_it_listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, (folder / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    port, plain = free_port(), free_port()
    certify(tmp_path)
    settings = {
        "KEYTURN_PUBLIC_URL": f"https://localhost:{port}",
        "KEYTURN_TRUSTED_PROXIES": "127.0.0.1",
        "KEYTURN_TOKENS_IN_BODY": "never",
        "KEYTURN_REVOCATIONS_TOKEN": FEED_TOKEN,
    }
    trust = ssl.create_default_context(cafile=str(tmp_path / "certificate"))
    with (
        serving(tmp_path, **settings) as server,
        request.param(tmp_path, port, plain, server.port),
        httpx.Client(
            base_url=f"https://localhost:{port}", verify=trust, timeout=PATIENCE
        ) as client,
    ):
        yield Proxy(client, server, trust)


LOGIN = {name: ADA[name] for name in ("username", "password")}


def test_a_browser_stays_signed_in_through_it(proxy: Proxy) -> None:
    """A1: cookies of the strictest kind come and go, and the origin that it names is ours."""
    register(proxy.client)
    origin = {"Origin": str(proxy.client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    signed_in = proxy.client.post("/login", json=LOGIN, headers=origin)
    renewed = proxy.client.post("/refresh-token", headers=origin)
    me = proxy.client.get("/me")
    strange = proxy.client.post("/logout", headers={"Origin": "https://evil.example"})

    assert set(signed_in.cookies) == {"__Host-accessToken", "__Host-refreshToken"}
    assert [renewed.status_code, me.status_code, strange.status_code] == [200, 200, 403]
    assert "max-age=" in me.headers["strict-transport-security"]


def test_a_client_cannot_invent_its_address(proxy: Proxy) -> None:
    """H5: whatever it sends along, what counts is where it comes from."""
    register(proxy.client)
    invented = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    proxy.client.post("/login", json=LOGIN, headers=invented)
    [session] = proxy.client.get("/sessions").json()["data"]["sessions"]

    assert session["address"] == "127.0.0.1"


def test_a_client_cannot_invent_the_id_of_its_request(proxy: Proxy) -> None:
    """H5: the proxy calls it something, and the server calls it the same."""
    answer = proxy.client.get("/nowhere", headers={"X-Request-Id": "invented"})

    assert answer.headers["x-request-id"] == answer.json()["requestId"] != "invented"
    assert re.fullmatch("[0-9a-f]{32}|[0-9a-f-]{36}", answer.headers["x-request-id"])


def test_a_body_that_is_too_long_is_refused(proxy: Proxy) -> None:
    """H6: by the proxy or by the server, whose limit is the same."""
    answer = proxy.client.post("/login", content=b"x" * 70_000)

    assert answer.status_code == 413


def test_revocations_are_followed_through_it(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """D12: told as they happen, and what is told is not kept back until there is more of it."""
    register(proxy.client)
    issuer = str(proxy.client.base_url).rstrip("/")
    with Verifier(
        issuer, feed_token=FEED_TOKEN, new_client=lambda: httpx.Client(verify=proxy.trust)
    ) as verifier:
        proxy.client.post("/login", json=LOGIN)
        access_token = proxy.client.cookies["__Host-accessToken"]
        verifier.verify(access_token)
        proxy.client.post("/logout")

        until(lambda: _is_revoked(verifier, access_token))
    assert [line for line in caplog.records if line.name == "keyturn"] == []


def _is_revoked(verifier: Verifier, access_token: str) -> bool:
    try:
        verifier.verify(access_token)
    except AccessTokenRevoked:
        return True
    return False


def test_an_exchange_is_never_repeated_by_the_proxy(proxy: Proxy) -> None:
    """When the server is gone the client is told, in the 5xx by which it tries again."""
    register(proxy.client)
    proxy.client.post("/login", json=LOGIN)
    proxy.server.stop()
    answer = proxy.client.post("/refresh-token")

    assert answer.status_code in {502, 503, 504}
    assert "set-cookie" not in answer.headers


def test_the_doctor_finds_nothing_wrong_with_it(proxy: Proxy, tmp_path: Path) -> None:
    """H5: it comes as users do, and looks at how its requests arrive."""
    settings = {
        "KEYTURN_PUBLIC_URL": str(proxy.client.base_url).rstrip("/"),
        "KEYTURN_TRUSTED_PROXIES": "127.0.0.1",
        "SSL_CERT_FILE": str(tmp_path / "certificate"),
    }
    found = run_keyturn(tmp_path, "doctor", "--up", **settings)

    assert found.returncode == 0, found.stdout
    assert "ok    forwarded addresses\n" in found.stdout
    assert "ok    https\n" in found.stdout
