"""Secrets: made once, for the owner alone, read without guessing, and changed unnoticed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.server.assembly import open_parts, prepare
from keyturn.server.secret_files import find_secrets, make_private_folder, make_secret_file
from keyturn.server.settings import Settings, load_settings
from tests.commands import NOWHERE
from tests.stores.support import disk_full_beyond

from .processes import KEYTURN, clean_environment

OLD = "old-secret-of-more-than-32-characters"
NEW = "new-secret-of-more-than-32-characters"


@pytest.fixture(params=[0o000, 0o077, 0o777], ids=["umask 000", "umask 077", "umask 777"])
def _umask(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def settings_in(folder: Path, **environment: str) -> Settings:
    return load_settings({"KEYTURN_DATA_DIR": str(folder), **environment})


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_what_is_made_is_for_the_owner_alone(tmp_path: Path) -> None:
    """E3: 0600 in 0700, whatever the umask gives or takes, the folders above included."""
    folder = tmp_path / "above" / "data"
    make_private_folder(folder)
    make_secret_file(folder / "secret")

    assert mode(folder.parent) == mode(folder) == 0o700
    assert mode(folder / "secret") == 0o600


def test_a_secret_is_32_random_bytes(tmp_path: Path) -> None:
    """C1: two are never alike."""
    first, second = tmp_path / "first", tmp_path / "second"
    make_secret_file(first)
    make_secret_file(second)

    assert len(first.read_text().strip()) == 43
    assert first.read_text() != second.read_text()


def test_a_file_that_exists_is_never_touched(tmp_path: Path) -> None:
    """Not even an empty one: somebody put it there."""
    file = tmp_path / "secret"
    file.touch()

    with pytest.raises(ConfigurationError, match="exists already and was left alone"):
        make_secret_file(file)

    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b""


def test_nothing_is_left_where_there_was_no_room(tmp_path: Path) -> None:
    """An empty file would be in the way as soon as there is room."""
    file = tmp_path / "secret"
    with disk_full_beyond(0), pytest.raises(ConfigurationError, match="File too large"):
        make_secret_file(file)

    make_secret_file(file)
    assert len(file.read_text().strip()) == 43


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that is missing, or is no folder, is no traceback."""
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"cannot write .*: No such file"):
        make_secret_file(tmp_path / "missing" / "secret")
    with pytest.raises(ConfigurationError, match=r"cannot make .*: Not a directory"):
        make_private_folder(tmp_path / "file" / "data")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("x" * 31, "at least 32 printable characters"),
        ("", "at least 32 printable characters"),
        ("two words " * 4, "at least 32 printable characters"),
        (f"{OLD}\n{NEW}", "at least 32 printable characters"),
        ("x" * 64, "must be random"),
        ("abcdefg" * 5, "must be random"),
    ],
)
def test_a_weak_or_ambiguous_secret_is_refused(tmp_path: Path, text: str, advice: str) -> None:
    """D13: short, simple, or several in one file; the message names the file, not the secret."""
    file = tmp_path / "configured"
    file.write_text(text)

    with pytest.raises(ConfigurationError) as refused:
        find_secrets(settings_in(tmp_path, KEYTURN_SECRET_FILE=str(file)))

    assert advice in str(refused.value)
    assert str(file) in str(refused.value)
    assert not text or text not in str(refused.value)


def test_raw_bytes_are_refused(tmp_path: Path) -> None:
    """What is not text could be cut at a line end by the next editor."""
    file = tmp_path / "configured"
    file.write_bytes(b"\xff" * 32)

    with pytest.raises(ConfigurationError, match="must hold text"):
        find_secrets(settings_in(tmp_path, KEYTURN_SECRET_FILE=str(file)))


def test_a_line_end_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """The same secret may come from a file and from the environment."""
    file = tmp_path / "configured"
    file.write_text(f"{OLD}\r\n")

    from_file = find_secrets(settings_in(tmp_path, KEYTURN_SECRET_FILE=str(file)))

    assert from_file == find_secrets(settings_in(tmp_path, KEYTURN_SECRET=OLD)) == (OLD.encode(),)


def test_several_secrets_keep_their_order(tmp_path: Path) -> None:
    """The first makes, all check; from the environment and from files."""
    files = [tmp_path / "new", tmp_path / "old"]
    files[0].write_text(NEW)
    files[1].write_text(OLD)
    both = (NEW.encode(), OLD.encode())

    assert find_secrets(settings_in(tmp_path, KEYTURN_SECRET=f"{NEW},{OLD}")) == both
    listed = ",".join(map(str, files))
    assert find_secrets(settings_in(tmp_path, KEYTURN_SECRET_FILE=listed)) == both


def test_a_generated_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """E3: the message says what to run."""
    file = tmp_path / "secret"
    make_secret_file(file)
    file.chmod(0o640)

    with pytest.raises(ConfigurationError, match=f"run chmod 600 {file}"):
        find_secrets(settings_in(tmp_path))


async def test_the_first_run_makes_secret_and_database(tmp_path: Path) -> None:
    """And leaves both alone when it comes again."""
    settings = settings_in(tmp_path / "data")
    await prepare(settings, create=False)
    made = (tmp_path / "data" / "secret").read_bytes()
    await prepare(settings, create=False)

    assert (tmp_path / "data" / "secret").read_bytes() == made
    assert (tmp_path / "data" / "keyturn.db").exists()


async def test_a_first_run_that_was_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    """Before the secret has its name there is nobody to be signed out; a half-written one is made
    anew, one that has sealed something is kept.
    """
    settings = settings_in(tmp_path)
    (tmp_path / "secret.pending").write_text("half")
    await prepare(settings, create=False)
    secret = (tmp_path / "secret").rename(tmp_path / "secret.pending").read_bytes()
    await prepare(settings, create=False)

    assert (tmp_path / "secret").read_bytes() == secret
    assert not (tmp_path / "secret.pending").exists()


async def test_a_configured_secret_is_no_first_run(tmp_path: Path) -> None:
    """Who configures, begins with `keyturn init`: a mistyped path must not pass for a new start."""
    settings = settings_in(tmp_path, KEYTURN_SECRET=OLD)

    with pytest.raises(ConfigurationError, match="does not exist; run `keyturn init`"):
        await prepare(settings, create=False)

    assert list(tmp_path.iterdir()) == []
    await prepare(settings, create=True)
    assert (tmp_path / "keyturn.db").exists()


async def test_init_makes_no_secret_beside_a_database(tmp_path: Path) -> None:
    """It would sign everybody out, and open no signing key."""
    settings = settings_in(tmp_path)
    await prepare(settings, create=True)
    (tmp_path / "secret").unlink()

    with pytest.raises(ConfigurationError, match="secret is missing: restore it"):
        await prepare(settings, create=True)

    assert not (tmp_path / "secret").exists()


def test_of_many_that_start_at_once_one_makes_the_secret(tmp_path: Path) -> None:
    """All succeed, with the one secret that opens the one signing key."""
    environment = clean_environment(tmp_path) | NOWHERE
    starting = [
        subprocess.Popen([*KEYTURN, "init"], env=environment, stdout=subprocess.DEVNULL)
        for _ in range(6)
    ]
    codes = [process.wait(60) for process in starting]

    assert codes == [0] * 6
    assert subprocess.run([*KEYTURN, "doctor"], env=environment, check=False).returncode == 0


async def test_a_secret_is_changed_and_nobody_notices(tmp_path: Path) -> None:
    """H9: added in second place, promoted, and the old one taken away, with a session alive all
    the time. A window of 0 makes each exchange a turn.
    """
    strict = {"KEYTURN_RETRY_WINDOW": "0"}
    await prepare(settings_in(tmp_path, KEYTURN_SECRET=OLD, **strict), create=True)
    stages = [OLD, f"{OLD},{NEW}", f"{NEW},{OLD}", NEW]
    refresh, access = None, ""

    for secrets in stages:
        parts = await open_parts(settings_in(tmp_path, KEYTURN_SECRET=secrets, **strict))
        await parts.sessions.load()
        if access:
            assert parts.sessions.verify(access).user_id == "ada"
        tokens = await (
            parts.sessions.refresh(refresh) if refresh else parts.sessions.create("ada")
        )
        refresh, access = tokens.refresh_token, tokens.access_token
        await parts.close()

    assert tokens.session.generation == len(stages) - 1


def test_reading_a_secret_imports_no_server() -> None:
    """A command that needs a secret is not made to wait for an HTTP server."""
    program = "import sys, keyturn.server.secret_files; sys.exit('uvicorn' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
