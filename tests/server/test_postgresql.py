"""``keyturn`` on PostgreSQL: begun on request, shared by machines, clear about what is wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import httpx
import pytest

from keyturn.server.doctor import examine
from keyturn.server.settings import Settings, load_settings
from keyturn.stores.migrations import shipped_migrations
from keyturn.stores.postgres.opening import migrate
from tests.commands import NOWHERE
from tests.postgresql import Server
from tests.server.processes import register, run_keyturn, serving, sign_in, until
from tests.server.test_doctor import advice
from tests.stores.postgres.support import connected

SECRET = "correct-horse-battery-staple-0123456789"
TABLES = """
    SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class
    WHERE relnamespace = to_regnamespace('keyturn')"""


LOADED = """
import sys
import keyturn.server.run, keyturn.server.metrics, keyturn.server.pages.routes
import keyturn.accounts.postgres, keyturn.stores.postgres, keyturn.hooks.postgres
print("apsw" in sys.modules)
"""


def test_a_server_loads_no_sqlite() -> None:
    """It takes memory in every worker."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60
    )

    assert told.stdout == "False\n"


class Machine:
    """Where ``keyturn`` runs, with a data folder of its own."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        self.settings = {"KEYTURN_DATABASE_URL": database, **NOWHERE}
        folder.mkdir(exist_ok=True)

    def __call__(self, *arguments: str, **settings: str) -> CompletedProcess[str]:
        return run_keyturn(self.folder, *arguments, **self.settings | settings)

    def told(self, *arguments: str, **settings: str) -> str:
        """What a command that works prints."""
        ended = self(*arguments, **settings)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @contextmanager
    def client(self, **settings: str) -> Iterator[httpx.Client]:
        """Of a running server."""
        with serving(self.folder, **self.settings | settings) as server, server.client() as client:
            yield client

    def secret(self) -> Path:
        return self.folder / "data" / "secret"


@pytest.fixture
def machine(tmp_path: Path, database: str) -> Machine:
    return Machine(tmp_path / "one", database)


async def tables(database: str) -> str:
    async with connected(database) as connection:
        return str(await connection.fetchval(TABLES))


async def run(database: str, statement: str) -> None:
    async with connected(database) as connection:
        await connection.execute(statement)


# ── beginning ───────────────────────────────────────────────────────────────────────────────────


def test_init_makes_secret_and_tables_and_serve_answers(machine: Machine) -> None:
    """As on a file; the name of the database is told without user and password."""
    told = machine.told("init", KEYTURN_DATABASE_URL=machine.database.replace("@", ":sesame@"))
    with machine.client() as client:
        register(client)
        tokens = sign_in(client)
        renewed = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        ready = client.get("/readyz")

    assert "sesame" not in told
    assert "keyturn@" not in told
    assert machine.secret().stat().st_mode & 0o777 == 0o600
    assert [renewed.status_code, ready.status_code] == [200, 200]


async def test_serve_makes_nothing_by_itself(machine: Machine) -> None:
    """The secret may be on another machine, and the URL may be mistyped."""
    ended = machine("serve", "--port", "0")
    with_secret = machine("serve", "--port", "0", KEYTURN_SECRET=SECRET)

    assert ended.returncode == with_secret.returncode == 2
    assert "secret is missing" in ended.stderr
    assert "holds no tables of Keyturn; `keyturn init` makes them" in with_secret.stderr
    assert not machine.secret().parent.exists()
    assert await tables(machine.database) == ""


def test_no_second_secret_is_made_beside_tables(machine: Machine, tmp_path: Path) -> None:
    """On another machine of the same database: it would open nothing."""
    machine.told("init")
    other = Machine(tmp_path / "two", machine.database)
    ended = other("init")

    assert ended.returncode == 2
    assert "secret is missing: restore it" in ended.stderr
    assert not other.secret().exists()


def test_an_init_that_was_cut_short_is_gone_on_with(machine: Machine) -> None:
    """Before the secret got its name: the tables are sealed under it."""
    machine.told("init")
    machine.secret().rename(machine.secret().with_suffix(".pending"))
    machine.told("init")

    assert machine.secret().exists()
    assert "WRONG" not in machine.told("doctor")


async def test_a_sharded_layout_is_said_once(machine: Machine) -> None:
    """Afterwards commands and servers know by themselves; a file cannot be sharded."""
    machine.told("init")
    machine.told("init", "--sharded")
    machine.told("init")
    with machine.client() as client:
        register(client)
        sign_in(client)
    async with connected(machine.database) as connection:
        sharded = await connection.fetchval("SELECT sharded FROM keyturn.layout")
    in_file = run_keyturn(machine.folder, "init", "--sharded")

    assert sharded
    assert in_file.returncode == 2
    assert "must begin with postgresql:// to be sharded" in in_file.stderr


def test_two_machines_share_sessions(machine: Machine, tmp_path: Path) -> None:
    """With one secret: a session of one is a session of the other, and commands see all."""
    machine.told("init", KEYTURN_SECRET=SECRET)
    other = Machine(tmp_path / "two", machine.database)
    with (
        machine.client(KEYTURN_SECRET=SECRET) as one,
        other.client(KEYTURN_SECRET=SECRET) as two,
    ):
        register(one)
        tokens = sign_in(one)
        bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
        seen = two.get("/me", headers=bearer)
        listed = json.loads(other.told("users", "list", "--json", KEYTURN_SECRET=SECRET))
        two.post("/logout", json={"refreshToken": tokens["refreshToken"]})
        refused = one.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})

    assert seen.status_code == 200
    assert [row["username"] for row in listed] == ["ada"]
    assert refused.json()["code"] == "session_revoked"


# ── what is wrong is said, and nothing is made or lost ──────────────────────────────────────────

NEWER = "INSERT INTO keyturn.migration VALUES (9999, 'later')"
FOREIGN = "ALTER TABLE keyturn.migration RENAME COLUMN checksum TO text"
DAMAGED_KEY = (
    "UPDATE keyturn.signing_key SET sealed = overlay(sealed PLACING sha256(sealed) FROM 30)"
)
NO_KEY_LEFT = "UPDATE keyturn.signing_key SET sealed = ''"
NO_TABLE = "DROP TABLE keyturn.signing_key"
READ_ONLY = """DO $$ BEGIN EXECUTE
    format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
    END $$"""


@pytest.mark.parametrize(
    ("harm", "code", "sentence"),
    [
        (NEWER, 2, "newer release of Keyturn; install that one"),
        (FOREIGN, 2, "of another program; it was left as it is"),
        (DAMAGED_KEY, 2, "none of the secrets opens signing key"),
        (NO_KEY_LEFT, 2, "none of the secrets opens signing key"),
        (NO_TABLE, 3, "The tables of Keyturn are not as they should be"),
        (READ_ONLY, 3, "The database cannot be written"),
    ],
)
async def test_a_database_that_will_not_do_is_refused(
    machine: Machine, harm: str, code: int, sentence: str
) -> None:
    """By serve and by init alike: a sentence, a stable exit code, and all is left as it was."""
    machine.told("init")
    await run(machine.database, harm)
    before = await tables(machine.database)
    ends = [machine("serve", "--port", "0"), machine("init")]

    for ended in ends:
        assert ended.returncode == code
        assert sentence in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert await tables(machine.database) == before


async def test_an_older_schema_is_brought_up_to_date_by_init_alone(machine: Machine) -> None:
    """While processes of the older release run, nobody else changes it."""
    first, *_ = shipped_migrations("keyturn.stores.postgres")
    async with connected(machine.database) as connection:
        await migrate(connection, [first], create=True)
    served = machine("serve", "--port", "0", KEYTURN_SECRET=SECRET)
    doctor = machine("doctor", KEYTURN_SECRET=SECRET)
    machine.told("init", KEYTURN_SECRET=SECRET)

    assert served.returncode == 2
    assert "older release; `keyturn init` brings it up to date" in served.stderr
    assert "older release: `keyturn init` brings it up to date" in doctor.stdout
    assert "WRONG" not in machine.told("doctor", KEYTURN_SECRET=SECRET)


def test_another_secret_is_refused(machine: Machine) -> None:
    """It opens no key, so every session would be over."""
    machine.told("init", KEYTURN_SECRET=SECRET)
    ended = machine("serve", "--port", "0", KEYTURN_SECRET=SECRET[::-1])

    assert ended.returncode == 2
    assert "restore the one it was sealed under" in ended.stderr


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        (("/test_", "/absent_"), 2, "names a database that does not exist; create it first"),
        (("keyturn:sesame@", "nobody:sesame@"), 2, "names a user whom the server refuses"),
        (("?host=", "?nonsense=1&host="), 2, "has a parameter that the server refuses"),
        (("port=", "port=x"), 2, "cannot be read as postgresql://USER:PASSWORD@HOST/DATABASE"),
        (("?host=", "?host=/nowhere"), 3, "The database does not answer"),
    ],
)
@pytest.mark.parametrize("command", [("init",), ("serve", "--port", "0"), ("users", "list")])
def test_a_database_that_is_not_there_is_said(
    machine: Machine, command: tuple[str, ...], change: tuple[str, str], code: int, sentence: str
) -> None:
    """H1: in one sentence, without the password."""
    machine.settings["KEYTURN_DATABASE_URL"] = machine.database.replace("@", ":sesame@", 1).replace(
        *change
    )
    ended = machine(*command, KEYTURN_SECRET=SECRET)

    assert ended.returncode == code
    assert sentence in ended.stderr
    assert "sesame" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_settings_are_shown_without_the_password() -> None:
    """H1: in whichever traceback they turn up."""
    url = "postgresql://keyturn:sesame@db/keyturn"
    settings = load_settings({"KEYTURN_DATA_DIR": "/data", "KEYTURN_DATABASE_URL": url})

    assert "sesame" not in repr(settings)


# ── the doctor ──────────────────────────────────────────────────────────────────────────────────


def doctored(machine: Machine, **settings: str) -> Settings:
    folder = {"KEYTURN_DATA_DIR": str(machine.folder / "data")}
    return load_settings(folder | machine.settings | settings)


async def test_a_healthy_database_needs_no_advice(machine: Machine) -> None:
    """It is named with the release of its server."""
    machine.told("init")
    findings = await examine(doctored(machine))

    assert [finding.advice for finding in findings if finding.state == "wrong"] == []
    assert any(", PostgreSQL 1" in finding.subject for finding in findings)


async def test_tables_of_another_owner_are_found(machine: Machine) -> None:
    """As after a restore by an administrator; by the doctor and by who asks a running server."""
    machine.told("init")
    await run(
        machine.database,
        "CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA keyturn TO clerk;"
        "GRANT ALL ON ALL TABLES IN SCHEMA keyturn TO clerk",
    )
    machine.settings["KEYTURN_DATABASE_URL"] = machine.database.replace("keyturn@", "clerk@")
    with machine.client() as client:
        before = client.get("/readyz").status_code
        await run(machine.database, "REVOKE INSERT, UPDATE ON keyturn.session FROM clerk")
        until(lambda: client.get("/readyz").status_code == 503)
    told = await advice(doctored(machine))

    assert before == 200
    assert told.startswith("its user may not read and write session, as servers must")


async def test_a_database_without_tables_is_told_how_to_begin(machine: Machine) -> None:
    """Looking makes none."""
    told = await advice(doctored(machine, KEYTURN_SECRET=SECRET))

    assert "holds no tables of Keyturn; `keyturn init` makes them" in told
    assert await tables(machine.database) == ""


async def test_a_server_that_is_down_is_told(machine: Machine) -> None:
    """With all the rest that was looked at."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    machine.settings["KEYTURN_DATABASE_URL"] = f"postgresql://a:sesame@127.0.0.1:{port}/b"
    told = machine("doctor", KEYTURN_SECRET=SECRET)

    assert told.returncode == 1
    assert f"WRONG database postgresql://127.0.0.1:{port}/b: The database does not" in told.stdout
    assert "sesame" not in told.stdout
    assert "ok    secrets" in told.stdout


async def test_a_clock_ahead_of_this_one_is_found(machine: Machine) -> None:
    """By what another server wrote of late."""
    machine.told("init")
    await run(
        machine.database,
        "INSERT INTO keyturn.event (at, kind, user_id)"
        " VALUES (extract(epoch FROM now()) + 60, 'signed_in', 'ada')",
    )

    assert "clocks of the servers differ by at least" in await advice(doctored(machine))


async def test_what_a_crash_would_undo_is_found(machine: Machine, postgresql: Server) -> None:
    """A server that lies about its disk loses what was acknowledged."""
    machine.told("init")
    await run(postgresql.url(), "ALTER SYSTEM SET full_page_writes = off")
    await run(postgresql.url(), "SELECT pg_reload_conf()")
    try:
        await until_setting(postgresql, "full_page_writes", "off")
        told = await advice(doctored(machine))
    finally:
        await run(postgresql.url(), "ALTER SYSTEM RESET full_page_writes")
        await run(postgresql.url(), "SELECT pg_reload_conf()")
        await until_setting(postgresql, "full_page_writes", "on")

    assert told == (
        "its setting full_page_writes is off, so a crash can undo what was acknowledged: set it on"
    )


async def until_setting(server: Server, name: str, value: str) -> None:
    while True:
        async with connected(server.url()) as connection:
            if await connection.fetchval("SELECT current_setting($1)", name) == value:
                return


@pytest.mark.parametrize(("layout", "needed"), [((), 10), (("--sharded",), 22)])
async def test_a_server_without_room_is_found(
    machine: Machine, postgresql: Server, layout: tuple[str, ...], needed: int
) -> None:
    """Before the workers meet it, who need more where the tables are sharded."""
    machine.told("init", *layout)
    room = f"SELECT current_setting('max_connections')::int - {needed}"
    async with connected(postgresql.url()) as connection:
        count = await connection.fetchval(room)
    crowd = [connected(postgresql.url()) for _ in range(count)]
    try:
        for each in crowd:
            await each.__aenter__()
        told = await advice(doctored(machine))
    finally:
        for each in crowd:
            await each.__aexit__(None, None, None)

    assert f"more connections, and a worker takes {needed}: raise max_connections" in told
