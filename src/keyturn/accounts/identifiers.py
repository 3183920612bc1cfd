"""The names of users: what may be one, and when two are the same.

A username never has an @ and an email always has one, so neither can be taken for the other.
Names are kept as they were given; they are compared by ``key_of``.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final
from unicodedata import category, combining, normalize

from .errors import InvalidField

__all__ = [
    "EMAIL_LENGTHS",
    "FULLNAME_LENGTHS",
    "MOST_MARKS",
    "NOBODY",
    "USERNAME_LENGTHS",
    "check_email",
    "check_fullname",
    "check_username",
    "fold",
    "is_stream_safe",
    "key_of",
]

NOBODY: Final = ""
"""The key of every name that no user can have."""

_LONGEST_EMAIL: Final = 254  # octets of a path without its brackets, RFC 5321, section 4.5.3.1.3

USERNAME_LENGTHS: Final = (3, 64)
"""Least and most, in code points."""
EMAIL_LENGTHS: Final = (3, _LONGEST_EMAIL)
"""Least and most, in code points."""
FULLNAME_LENGTHS: Final = (1, 128)
"""Least and most, in code points."""
MOST_MARKS: Final = 30
"""How many combining marks may follow each other, as in UAX #15, section 13."""

_UNTELLABLE: Final = "must not contain control, invisible or unassigned characters"

_BREAKS_A_LINE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Format characters are not seen; unassigned ones may fold differently in the next Unicode.
_BREAKS_A_NAME: Final = _BREAKS_A_LINE | {"Cf", "Cn", "Co"}
# Default_Ignorable_Code_Point of the Unicode Character Database (DerivedCoreProperties.txt), as
# first and last: what fonts show nothing for. Not all of them are format characters.
_INVISIBLE: Final = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_BIDI_CONTROLS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def key_of(identifier: str) -> str:
    """What is unique of a username or email, and found by. ``NOBODY`` where it can be nobody's.

    White space around it is passed over: no name has any, and keyboards add it.
    """
    if len(identifier) > _LONGEST_EMAIL or not _is_text(identifier):
        return NOBODY
    return fold(identifier.strip()) if is_stream_safe(identifier) else NOBODY


def fold(text: str) -> str:
    """The compatibility caseless form of ``text``, composed: definition D146 of The Unicode
    Standard, section 3.13.
    """
    once = normalize("NFKC", normalize("NFD", text).casefold())
    return normalize("NFKC", once.casefold())


def is_stream_safe(text: str) -> bool:
    """Whether ``text`` is normalised in no time: Unicode's Stream-Safe Text Format (UAX #15,
    section 13), which text of every language has. Marks that follow each other are put in order
    first, which takes a time that grows with the square of their number. Ask for the length before.
    """
    runs = groupby(text, _is_mark) if not text.isascii() else ()
    return not any(is_of_marks and len(list(run)) > MOST_MARKS for is_of_marks, run in runs)


def _is_mark(character: str) -> bool:
    """Also what only decomposes to marks: that is put in order with them."""
    return combining(normalize("NFKD", character)[0]) > 0


def check_username(username: str) -> None:
    """Accept 3 to 64 code points without an @.

    Raises:
        InvalidField: naming ``username`` and saying what is wrong with it.
    """
    _check_length("username", username, USERNAME_LENGTHS)
    _check_line("username", username, _BREAKS_A_NAME)
    _check_visible("username", username)
    if "@" in fold(username):
        raise InvalidField("username", "must not contain @")


def check_email(email: str) -> None:
    """Accept what plausibly is an email address. Whether it is one, only sending mail can tell.

    Raises:
        InvalidField: naming ``email`` and saying what is wrong with it.
    """
    _check_length("email", email, EMAIL_LENGTHS)
    _check_line("email", email, _BREAKS_A_NAME)
    _check_visible("email", email)
    if len(email.encode()) > _LONGEST_EMAIL:
        raise InvalidField("email", f"must have at most {_LONGEST_EMAIL} bytes")
    local, _, domain = fold(email).partition("@")
    if not local or not domain or "@" in domain or "@" not in email:
        raise InvalidField("email", "must be of the form name@domain")
    if any(map(str.isspace, local + domain)):
        raise InvalidField("email", "must not contain white space")


def check_fullname(fullname: str) -> None:
    """Accept 1 to 128 code points on one line.

    Raises:
        InvalidField: naming ``fullname`` and saying what is wrong with it.
    """
    _check_length("fullname", fullname, FULLNAME_LENGTHS)
    _check_line("fullname", fullname, _BREAKS_A_LINE)


def _check_length(field: str, text: str, lengths: tuple[int, int]) -> None:
    least, most = lengths
    if not least <= len(text) <= most:
        raise InvalidField(field, f"must have {least} to {most} characters")


def _check_line(field: str, text: str, refused: frozenset[str]) -> None:
    if any(category(character) in refused for character in text) or _BIDI_CONTROLS & set(text):
        raise InvalidField(field, _UNTELLABLE)
    if not is_stream_safe(text):
        raise InvalidField(field, f"must not have more than {MOST_MARKS} marks on one letter")
    if text != text.strip() or fold(text) != fold(text).strip():
        raise InvalidField(field, "must not begin or end with white space")


def _check_visible(field: str, text: str) -> None:
    if any(first <= ord(character) <= last for character in text for first, last in _INVISIBLE):
        raise InvalidField(field, _UNTELLABLE)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
