"""``keyturn serve`` as whoever runs it sees it: real processes, signals, and plain sentences."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
import threading
from pathlib import Path

import httpx
import pytest

from .processes import (
    KEYTURN,
    PATIENCE,
    is_running,
    register,
    run_keyturn,
    serving,
    sign_in,
    until,
)

SLOW = (sys.executable, str(Path(__file__).with_name("slow_server.py")))


def test_the_first_run_needs_nothing_and_keeps_a_user_signed_in(tmp_path: Path) -> None:
    """Register, log in, exchange, look, log out, over HTTP, with no setting but the data folder."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        refresh = {"refreshToken": tokens["refreshToken"]}
        renewed = client.post("/refresh-token", json=refresh).json()["data"]
        bearer = {"authorization": f"Bearer {renewed['accessToken']}"}
        me = client.get("/me", headers=bearer)
        out = client.post("/logout", json={"refreshToken": renewed["refreshToken"]})
        after = client.get("/me", headers=bearer)
        again = client.post("/refresh-token", json={"refreshToken": renewed["refreshToken"]})

    assert me.json()["data"]["user"]["username"] == "ada"
    assert (me.status_code, out.status_code) == (200, 200)
    assert (after.status_code, again.status_code) == (401, 401)


def test_that_all_is_new_is_told_once(tmp_path: Path) -> None:
    """Where there should have been users, another folder is mounted, or none."""
    told = []
    for _ in range(2):
        with serving(tmp_path) as server:
            told.append(server.errors.read_text().count(f"in {tmp_path / 'data'}"))

    assert told == [1, 1]
    assert "made a secret and an empty database, as there was neither" in server.errors.read_text()


def test_sessions_outlive_the_server(tmp_path: Path) -> None:
    """The second run finds secret, database and keys of the first."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        same_issuer = server.url
        server.stop()
    with serving(tmp_path, KEYTURN_PUBLIC_URL=same_issuer) as server, server.client() as client:
        me = client.get("/me", headers={"authorization": f"Bearer {tokens['accessToken']}"})
        turned = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})

    assert (me.status_code, turned.status_code) == (200, 200)


def test_workers_share_the_port_and_the_sessions(tmp_path: Path) -> None:
    """With two workers every connection is answered, and a session is known to both."""
    with serving(tmp_path, "--workers", "2") as server:
        with server.client() as client:
            register(client)
            refresh = {"refreshToken": sign_in(client)["refreshToken"]}
        answers = [httpx.post(f"{server.url}/refresh-token", json=refresh) for _ in range(16)]
        workers = server.workers()
        code = server.stop()

    assert len(workers) == 2
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["data"]["refreshToken"] for answer in answers}) == 1
    assert code == 0
    assert not any(map(is_running, workers))


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    """A crash costs the requests that the worker had, no more."""
    with serving(tmp_path, "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        killed = min(server.workers())
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(server.workers() - {killed}) == 2)
        answer = httpx.get(f"{server.url}/readyz")

    assert answer.status_code == 200


def test_a_worker_that_pauses_holds_up_nobody(tmp_path: Path) -> None:
    """Neither the others nor the end of the server."""
    with serving(tmp_path, "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        other = min(server.workers())
        while "after 30 s" not in server.errors.read_text():
            [killed] = server.workers() - {other}
            os.kill(killed, signal.SIGKILL)
            until(lambda killed=killed: len(server.workers() - {other, killed}) == 1)  # type: ignore[misc]
        os.kill(other, signal.SIGKILL)
        until(lambda: len(server.workers() - {other}) == 2)
        answer = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
        code = server.stop()

    assert answer.status_code == 200
    assert code == 0


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed leaves nobody behind on the port."""
    with serving(tmp_path, "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        server.stop(signal.SIGKILL)

        until(lambda: not any(map(is_running, workers)))
        until(server.refuses_connections)


def test_workers_that_cannot_work_end_the_server(tmp_path: Path) -> None:
    """What no restart mends is not tried for ever: the exit code is that of the cause."""
    with serving(tmp_path, "--workers", "2") as server:
        until(lambda: len(server.workers()) == 2)
        (tmp_path / "data" / "secret").unlink()
        os.kill(min(server.workers()), signal.SIGKILL)
        code = server.process.wait(20)

    assert code == 2
    assert "secret is missing" in server.errors.read_text()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stopped_server_finishes_the_exchange_in_flight(
    tmp_path: Path, how: signal.Signals, workers: str
) -> None:
    """After the signal nobody new is let in, who is inside is answered, and the exit code is 0."""
    begun, may_end = tmp_path / "begun", tmp_path / "may-end"
    gates = {"TURN_BEGUN": str(begun), "TURN_MAY_END": str(may_end)}
    answers: list[httpx.Response] = []
    with serving(tmp_path, "--workers", workers, command=SLOW, **gates) as server:
        with server.client() as client:
            register(client)
            refresh = {"refreshToken": sign_in(client)["refreshToken"]}
            exchange = threading.Thread(
                target=lambda: answers.append(client.post("/refresh-token", json=refresh))
            )
            exchange.start()
            until(begun.exists)
            server.process.send_signal(how)
            until(server.refuses_connections)
            may_end.touch()
            exchange.join()
        code = server.process.wait(20)

    assert [answer.status_code for answer in answers] == [200]
    assert answers[0].json()["data"]["refreshToken"] != refresh["refreshToken"]
    assert code == 0


def test_who_wants_it_to_outlive_the_terminal_is_heard(tmp_path: Path) -> None:
    """Started by nohup it takes no notice of it, and does what it did."""
    with serving(tmp_path, "--workers", "2", command=("nohup", *KEYTURN)) as server:
        until(lambda: len(server.workers()) == 2)
        killed = min(server.workers())
        os.killpg(server.process.pid, signal.SIGHUP)
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(server.workers() - {killed}) == 2)
        answer = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)

    assert answer.status_code == 200


def test_nothing_that_the_server_writes_holds_a_token_or_a_password(tmp_path: Path) -> None:
    """H3: logs tell who did what, never with what."""
    with serving(tmp_path, KEYTURN_LOG_LEVEL="debug") as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        client.get(f"/{tokens['refreshToken']}")
        client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        client.post("/login", json={"username": "ada", "password": "sesame, open up"})
        server.stop()
    written = server.errors.read_text()

    assert "login_succeeded" in written
    for secret in (tokens["refreshToken"], tokens["accessToken"], "correct horse", "sesame"):
        assert secret not in written


def test_no_answer_names_the_software(tmp_path: Path) -> None:
    """H8: neither its name nor its version is told."""
    with serving(tmp_path) as server:
        answer = httpx.get(f"{server.url}/healthz")

    assert "server" not in answer.headers


def test_a_forwarded_address_of_a_stranger_is_not_believed(tmp_path: Path) -> None:
    """H5: only configured proxies say where a request came from."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        client.headers["x-forwarded-for"] = "192.0.2.7"
        bearer = {"authorization": f"Bearer {sign_in(client)['accessToken']}"}
        [session] = client.get("/sessions", headers=bearer).json()["data"]["sessions"]

    assert session["address"] == "127.0.0.1"


def test_a_proxy_that_is_not_named_is_told_at_the_start(tmp_path: Path) -> None:
    """H5: without its address all users would count as one network."""
    with serving(tmp_path, KEYTURN_PUBLIC_URL="https://a.example") as server:
        server.stop()

    assert "KEYTURN_TRUSTED_PROXIES is not set" in server.errors.read_text()


def test_endless_headers_end(tmp_path: Path) -> None:
    """H6: the server that users run has the bounds, and goes on."""
    with serving(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nx: " + b"a" * 65 * 1024)
            refusal = connection.recv(1024)
        answer = httpx.get(f"{server.url}/healthz")

    assert refusal.startswith(b"HTTP/1.1 431 ")
    assert answer.status_code == 200


# ── what cannot be served is said in one sentence ───────────────────────────────────────────────


def refusal(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    """The exit code of a server that does not start, and the one line that it says."""
    ended = run_keyturn(folder, "serve", *options, **environment)
    [line] = ended.stderr.splitlines()
    return ended.returncode, line


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """Somebody else's port is no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = refusal(tmp_path, "--port", str(port))

    assert code == 1
    assert line.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: Address already in use")


@pytest.mark.parametrize("name", ["KEYTURN_ACCESS_TTL", "KEYTURN_SECRET", "KEYTURN_PUBLIC_URL"])
def test_settings_are_checked_before_the_port_is_taken(tmp_path: Path, name: str) -> None:
    """Who has both wrong is told of the setting first."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = refusal(tmp_path, "--port", port, **{name: "0"})

    assert code == 2
    assert line.startswith(f"Error: {name}: ")


def test_a_configured_secret_without_a_database_is_said(tmp_path: Path) -> None:
    """Also where the folder of the database is missing with it."""
    secret = "a-secret-of-more-than-32-characters"
    code, line = refusal(tmp_path, "--port", "0", KEYTURN_SECRET=secret)

    assert code == 2
    assert f"{tmp_path / 'data' / 'keyturn.db'} does not exist; run `keyturn init`" in line


@pytest.mark.parametrize(
    ("options", "environment", "named"),
    [
        ((), {"KEYTURN_ACCESS_TTL": "x"}, "KEYTURN_ACCESS_TTL"),
        ((), {"KEYTURN_ACCESS_TTL": "0"}, "KEYTURN_ACCESS_TTL"),
        ((), {"KEYTURN_IDLE_TIMEOUT": "900"}, "KEYTURN_IDLE_TIMEOUT"),
        ((), {"KEYTURN_ABSOLUTE_LIFETIME": "9000"}, "KEYTURN_ABSOLUTE_LIFETIME"),
        ((), {"KEYTURN_PASSWORD_MIN_LENGTH": "7"}, "KEYTURN_PASSWORD_MIN_LENGTH"),
        ((), {"KEYTURN_PUBLIC_URL": "http://a.example"}, "KEYTURN_PUBLIC_URL"),
        ((), {"KEYTURN_COOKIE_DOMAIN": "a.example"}, "KEYTURN_COOKIE_DOMAIN"),
        ((), {"KEYTURN_SECRET": "short"}, "KEYTURN_SECRET"),
        ((), {"KEYTURN_ISSUER": "https://" + "x" * 1200}, "KEYTURN_ISSUER"),
        ((), {"KEYTURN_AUDIENCE": "x" * 1200}, "KEYTURN_AUDIENCE"),
        ((), {"KEYTURN_REVOCATIONS_TOKEN": "short"}, "KEYTURN_REVOCATIONS_TOKEN"),
        ((), {"KEYTURN_NONSENSE": "1"}, "KEYTURN_NONSENSE"),
        (("--host", "0.0.0.0"), {}, "KEYTURN_PUBLIC_URL"),
    ],
)
def test_an_impossible_setting_is_said_by_name(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], named: str
) -> None:
    """Exit code 2, the name of the setting, and nothing was made."""
    code, line = refusal(tmp_path, "--port", "0", *options, **environment)

    assert code == 2
    assert line.startswith(f"Error: {named}: ")
    assert not (tmp_path / "data" / "keyturn.db").exists()


def test_a_damaged_database_is_said_and_left_alone(tmp_path: Path) -> None:
    """It is never replaced: what is left of it may be worth much."""
    run_keyturn(tmp_path, "init")
    database = tmp_path / "data" / "keyturn.db"
    database.write_bytes(b"no database " * 1000)

    code, line = refusal(tmp_path, "--port", "0")

    assert code == 2
    assert str(database) in line
    assert database.read_bytes() == b"no database " * 1000


def test_a_lost_secret_is_said_and_not_replaced(tmp_path: Path) -> None:
    """A new one beside an existing database would sign everybody out."""
    run_keyturn(tmp_path, "init")
    secret = tmp_path / "data" / "secret"
    secret.unlink()

    code, line = refusal(tmp_path, "--port", "0")

    assert code == 2
    assert f"{secret} is missing" in line
    assert not secret.exists()


def test_a_lost_database_is_said_and_not_replaced(tmp_path: Path) -> None:
    """A disk that was not mounted must not pass for a first run."""
    run_keyturn(tmp_path, "init")
    database = tmp_path / "data" / "keyturn.db"
    database.unlink()

    code, line = refusal(tmp_path, "--port", "0")

    assert code == 2
    assert f"{database} does not exist; run `keyturn init`" in line
    assert not database.exists()


def test_a_wrong_secret_is_said(tmp_path: Path) -> None:
    """A secret that does not open the signing keys is another server's."""
    run_keyturn(tmp_path, "init")

    code, line = refusal(
        tmp_path, "--port", "0", KEYTURN_SECRET="another-secret-of-thirty-two-bytes"
    )

    assert code == 2
    assert line.startswith("Error: KEYTURN_SECRET or KEYTURN_SECRET_FILE: none of")
    assert "another-secret" not in line


def test_a_locked_database_is_another_exit_code(tmp_path: Path) -> None:
    """3 says that it may be tried again as it is."""
    run_keyturn(tmp_path, "init")
    other = sqlite3.connect(tmp_path / "data" / "keyturn.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    code, line = refusal(tmp_path, "--port", "0")
    other.close()

    assert code == 3
    assert "locked" in line


def test_the_command_is_found(tmp_path: Path) -> None:
    """The installed package brings the command, and it tells its version."""
    ended = run_keyturn(tmp_path, "--version")

    assert Path(KEYTURN[0]).exists()
    assert ended.stdout.startswith("keyturn ")
