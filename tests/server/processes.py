"""Real processes of ``keyturn serve``, and what tests ask of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

KEYTURN = (str(Path(sys.executable).with_name("keyturn")),)
ADA = {
    "username": "ada",
    "email": "ada@example.com",
    "fullname": "Ada Lovelace",
    "password": "correct horse battery",
}
PATIENCE = 20


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    errors: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def workers(self) -> set[int]:
        """The processes that the supervisor holds."""
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def refuses_connections(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return True
        return False


@contextmanager
def serving(
    folder: Path, *options: str, command: Sequence[str] = KEYTURN, **environment: str
) -> Iterator[Server]:
    """A server with its data in ``folder``, on a free port; killed at last, workers and all."""
    errors = folder / "stderr"
    arguments = [*command, "serve", "--port", "0", *options]
    with errors.open("a") as stderr:
        process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=clean_environment(folder) | environment,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        listens = re.search(r"http://[^\s\"]+", line)
        assert listens is not None, errors.read_text()
        yield Server(process, listens[0], errors)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run_keyturn(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, with the data in ``folder``."""
    return subprocess.run(
        [*KEYTURN, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env=clean_environment(folder) | environment,
    )


def clean_environment(folder: Path) -> dict[str, str]:
    """That of the tests without settings of whoever runs them, and with the data in ``folder``."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("KEYTURN_")}
    return kept | {"KEYTURN_DATA_DIR": str(folder / "data")}


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    return _state(pid) not in {"", "Z"}


def is_asleep(pid: int) -> bool:
    """Its first thread waits for something, as for a key at the terminal."""
    return _state(pid) == "S"


def _state(pid: int) -> str:
    """The letter that the kernel gives it, proc(5); none when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return ""
    return status.partition("\nState:\t")[2][:1]


def register(client: httpx.Client) -> None:
    assert client.post("/register", json=ADA).status_code == 201


def sign_in(client: httpx.Client) -> dict[str, str]:
    """The tokens of a new session."""
    answer = client.post("/login", json={name: ADA[name] for name in ("username", "password")})
    assert answer.status_code == 200
    tokens: dict[str, str] = answer.json()["data"]
    return tokens
