"""The memory of a worker after a minute of exchanges and checks over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from .measure import heading

SECONDS = 60
CONNECTIONS = 32
STARTED_WITHIN = 20


def run() -> None:
    heading(f"keyturn serve, one worker: {SECONDS} s of exchanges and checks")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        server = subprocess.Popen(
            [Path(sys.executable).with_name("keyturn"), "serve", "--port", str(port)],
            env={**os.environ, "KEYTURN_DATA_DIR": folder, "KEYTURN_LOG_LEVEL": "error"},
        )
        try:
            _wait_until_it_answers(port)
            print(f"memory before: MB                 {_memory_mb(server.pid):.1f}")
            answers = asyncio.run(_load(port))
            print(f"answers by status                 {dict(answers)}")
            print(f"memory after: MB                  {_memory_mb(server.pid):.1f}")
        finally:
            server.terminate()
            server.wait()


async def _load(port: int) -> Counter[str]:
    answers: Counter[str] = Counter()
    first = await _Client.connect(port)
    user = {"username": "ada", "email": "ada@example.com", "fullname": "Ada"}
    password = os.urandom(12).hex()
    await first.call("POST", "/register", {**user, "password": password})
    login = {"username": "ada", "password": password}

    async def work(client: _Client, held: dict[str, str]) -> None:
        while time.monotonic() < until:
            status, answer = await client.call(
                "POST", "/refresh-token", {"refreshToken": held["refreshToken"]}
            )
            answers[status] += 1
            held = answer.get("data", held)
            for _ in range(4):
                status, _ = await client.call("GET", "/me", bearer=held["accessToken"])
                answers[status] += 1

    signed_in = []
    for _ in range(CONNECTIONS):  # one by one: what is measured is not the hashing
        client = await _Client.connect(port)
        _, answer = await client.call("POST", "/login", login)
        signed_in.append((client, answer["data"]))
    until = time.monotonic() + SECONDS
    await asyncio.gather(*(work(client, held) for client, held in signed_in))
    return answers


class _Client:
    """One HTTP/1.1 connection that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> _Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def call(
        self, method: str, path: str, body: object = None, *, bearer: str = ""
    ) -> tuple[str, dict]:  # type: ignore[type-arg]
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(content)}"]
        if content:
            lines.append("Content-Type: application/json")
        if bearer:
            lines.append(f"Authorization: Bearer {bearer}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        answer = await self._reader.readexactly(int(length[1]) if length else 0)
        return head.split(" ", 2)[1], json.loads(answer)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return int(taken.getsockname()[1])


def _wait_until_it_answers(port: int) -> None:
    until = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("the server did not start")


def _memory_mb(pid: int) -> float:
    """Resident memory of the largest process of the server's tree."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return max(_resident_mb(each) for each in (str(pid), *children))


def _resident_mb(pid: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
