"""The server's secrets: read from the environment or from files, and generated on first run.

A secret is text as it stands, at least 32 printable characters without spaces or commas, and is
never decoded: so it cannot be read in two ways. What is generated is base64url of 32 random bytes.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from keyturn.core import base64url
from keyturn.core.errors import ConfigurationError
from keyturn.wire.settings import check_random

from .settings import Settings

__all__ = [
    "default_secret_file",
    "find_secrets",
    "is_private",
    "make_durable",
    "make_private_folder",
    "make_secret_file",
    "secret_files",
    "sync_folder",
]


def find_secrets(settings: Settings) -> tuple[bytes, ...]:
    """The configured secrets, or the generated one.

    Raises:
        ConfigurationError: one is absent, unreadable, too short or too simple, or the generated
            file may be read by others.
    """
    if settings.secret:
        return tuple(_checked(text, "KEYTURN_SECRET") for text in settings.secret)
    own = default_secret_file(settings)
    if own in secret_files(settings) and own.exists() and not is_private(own):
        raise ConfigurationError("secret_file", f"others may read {own}: run chmod 600 {own}")
    return tuple(_read(path) for path in secret_files(settings))


def secret_files(settings: Settings) -> tuple[Path, ...]:
    """Where the secrets are read from; nowhere, if they are in the environment."""
    if settings.secret:
        return ()
    return settings.secret_file or (default_secret_file(settings),)


def default_secret_file(settings: Settings) -> Path:
    """Where a secret is generated if none is configured."""
    return settings.data_dir / "secret"


def is_private(path: Path) -> bool:
    """Whether nobody but its owner may do anything with a file or folder."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def make_secret_file(path: Path) -> None:
    """Generate a secret into a new file, mode 0600 whatever the umask, durable on return. A file
    that exists is never touched.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _fill(descriptor)
            sync_folder(path.parent)
        except BaseException:
            path.unlink()  # else it would be in the way of the next try
            raise
    except FileExistsError:
        raise ConfigurationError(
            f"cannot write {path}", "it exists already and was left alone"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}", str(error.strerror)) from None


def _fill(descriptor: int) -> None:
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)
        file.write(base64url.encode(secrets.token_bytes(32)) + "\n")
        file.flush()
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    _sync(folder, os.O_DIRECTORY)


def make_durable(file: Path) -> None:
    """Make what was written into a file durable."""
    _sync(file)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, mode 0700 whatever the umask.

    Raises:
        ConfigurationError: it cannot be made.
    """
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(0o700, exist_ok=True)
            path.chmod(0o700)
    except OSError as error:
        raise ConfigurationError("data_dir", f"cannot make {folder}: {error.strerror}") from None


def _checked(text: str, label: str) -> bytes:
    check_random(label, text)
    return text.encode()


def _read(path: Path) -> bytes:
    try:
        return _checked(path.read_text(encoding="ascii").strip(), f"the secret in {path}")
    except FileNotFoundError:
        raise ConfigurationError(
            "secret_file",
            f"{path} is missing: restore it, as without it nobody stays signed in;"
            " `keyturn init` makes one where there is no database yet",
        ) from None
    except OSError as error:
        raise ConfigurationError("secret_file", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError("secret_file", f"{path} must hold text") from None
