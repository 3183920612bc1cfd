"""What may be a password: anything long enough that is not among the first to be guessed.

There are no rules of composition and there is no expiry (NIST SP 800-63B-4, section 3.1.1.2).
The common ones are the words of zxcvbn's frequency lists, as ``scripts/build_blocklist.py`` packs
them; those are under the MIT License, copyright 2012-2016 Dan Wheeler and Dropbox, Inc., and 2016
Daniel Wolf.
"""

from __future__ import annotations

import gzip
import re
from functools import cache
from importlib import resources
from typing import Final
from unicodedata import normalize

from keyturn.core.errors import ConfigurationError

from .errors import PasswordRefused
from .identifiers import MOST_MARKS, fold, is_stream_safe
from .model import User

__all__ = ["LEAST_LENGTH", "LONGEST", "PACKED", "PasswordRules", "is_common", "password_bytes"]

LEAST_LENGTH: Final = 8
"""Code points. The list of common passwords holds none that are shorter."""
LONGEST: Final = 1024
"""Code points."""

PACKED: Final = resources.files(__package__).joinpath("common_passwords.txt.gz")
"""The common passwords, in NFC and case-folded, a line each."""

_WORD: Final = re.compile(r"[^\W_]+")
_MOST_DECOMPOSED: Final = 4 * LONGEST  # no character of NFC comes from more than four


def password_bytes(password: str) -> bytes:
    """What is hashed: the whole password in NFC (RFC 8265, section 4.2), case and NUL as they
    are.

    Raises:
        ValueError: it is too long, or not stream-safe, or not text, and so nobody's.
    """
    # What nobody has is not even normalised: that may take seconds, for whoever asks.
    if len(password) > _MOST_DECOMPOSED:
        raise ValueError("too long")
    if not is_stream_safe(password):
        raise ValueError("too many marks")
    composed = normalize("NFC", password)
    if len(composed) > LONGEST:
        raise ValueError("too long")
    return composed.encode()


class PasswordRules:
    """Says whether a new password will do.

    Args:
        min_length: in code points, at least 8.
        service_name: what the users know the service by.

    Raises:
        ConfigurationError: ``min_length`` is out of its bounds.
    """

    def __init__(self, *, min_length: int = LEAST_LENGTH, service_name: str = "") -> None:
        if not LEAST_LENGTH <= min_length <= LONGEST:
            raise ConfigurationError("password_min_length", f"must be {LEAST_LENGTH} to {LONGEST}")
        self._min_length = min_length
        self._service_name = service_name

    def check(self, password: str, user: User) -> None:
        """Return if ``user`` may take ``password``.

        Raises:
            PasswordRefused: saying why.
        """
        try:
            composed = password_bytes(password).decode()
        except ValueError:
            raise PasswordRefused(
                f"Password must be text of at most {LONGEST} characters,"
                f" and of at most {MOST_MARKS} marks on one letter"
            ) from None
        if len(composed) < self._min_length:
            raise PasswordRefused(f"Password must have at least {self._min_length} characters")
        if self._is_made_of_names(composed, user):
            raise PasswordRefused(
                "Password must not be your name, your email or the service's name,"
                " nor a variation of them"
            )
        if is_common(composed):
            raise PasswordRefused("Password is one of those that are guessed first")

    def _is_made_of_names(self, password: str, user: User) -> bool:
        """Whether little is left of the password without the words of the names, in any case and
        direction: no letter, and fewer characters than a password must have.
        """
        names = f"{user.username} {user.email} {user.fullname} {self._service_name}"
        words = _WORD.findall(fold(names))
        words += [word[::-1] for word in words]
        any_word = "|".join(sorted(words, key=len, reverse=True))
        left = re.sub(any_word, "", fold(password))
        return len(left) < self._min_length and not any(map(str.isalpha, left))


def is_common(password: str) -> bool:
    """Whether ``password``, in NFC, is in any case one of those that are guessed first."""
    return "\n" not in password and f"\n{password.casefold()}\n".encode() in _common_passwords()


@cache
def _common_passwords() -> bytes:
    """A line each. To search the text takes microseconds beside the hashing; a set would take ten
    times its memory in every process.
    """
    return b"\n" + gzip.decompress(PACKED.read_bytes()) + b"\n"
