"""Which names users may have, and which of them are the same."""

# ruff: noqa: RUF001  letters that look alike are what is tested

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from unicodedata import combining, normalize
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.accounts import identifiers
from keyturn.accounts.errors import InvalidField
from keyturn.accounts.identifiers import (
    NOBODY,
    check_email,
    check_fullname,
    check_username,
    fold,
    is_stream_safe,
    key_of,
)

CHECKS = {"username": check_username, "email": check_email, "fullname": check_fullname}
SAMPLE = {"username": "ada", "email": "ada@example.com", "fullname": "Ada Lovelace"}

NOT_ON_A_LINE = {
    "NUL": "\0",
    "escape": "\x1b",
    "line feed": "\n",
    "next line": "\x85",
    "line separator": "\u2028",
    "high surrogate": "\ud800",
    "low surrogate": "\udfff",
    "right-to-left override": "\u202e",
    "right-to-left isolate": "\u2067",
    "left-to-right mark": "\u200e",
    "Arabic letter mark": "\u061c",
}


@pytest.mark.parametrize("field", CHECKS)
@pytest.mark.parametrize("character", NOT_ON_A_LINE.values(), ids=NOT_ON_A_LINE.keys())
def test_what_is_not_text_of_one_line_is_refused_by_name(field: str, character: str) -> None:
    """Control characters, surrogates and bidi controls are refused, and the field is named."""
    text = SAMPLE[field][:1] + character + SAMPLE[field][1:]

    with pytest.raises(InvalidField, match=f"^{field} ") as refused:
        CHECKS[field](text)

    assert refused.value.field == field


@pytest.mark.parametrize("field", CHECKS)
@pytest.mark.parametrize("space", [" ", "\t", "\u00a0", "\u3000", "\u2009"])
def test_white_space_around_a_name_is_refused(field: str, space: str) -> None:
    """No name begins or ends with white space of any kind."""
    for text in (space + SAMPLE[field], SAMPLE[field] + space):
        with pytest.raises(InvalidField, match=f"^{field} "):
            CHECKS[field](text)


def test_white_space_that_folding_brings_forth_is_refused() -> None:
    """A spacing accent folds to a space and an accent, so a name cannot begin with one."""
    with pytest.raises(InvalidField, match="white space"):
        check_username("\u00a8ada")


@pytest.mark.parametrize("field", ["username", "email"])
@pytest.mark.parametrize(
    "character",
    [
        *("\u200b", "\u00ad", "\ufeff", "\ue000", "\u0378", "\u034f", "\u115f", "\u1160", "\u17b4"),
        *("\u17b5", "\u180b", "\u180f", "\u3164", "\ufe00", "\ufe0f", "\uffa0", "\U000e0100"),
    ],
)
def test_what_is_not_seen_makes_no_name(field: str, character: str) -> None:
    """Zero-width, private, unassigned and filling characters would make names that look the same,
    whatever their category.
    """
    with pytest.raises(InvalidField, match=f"^{field} "):
        CHECKS[field](SAMPLE[field][:1] + character + SAMPLE[field][1:])


@pytest.mark.parametrize(
    ("check", "unit", "rest", "least", "most"),
    [
        (check_username, "é", "", 3, 64),
        (check_fullname, "𝒜", "", 1, 128),
        (check_email, "a", "@b", 1, 252),
    ],
)
def test_lengths_are_counted_in_code_points(
    check: Callable[[str], None], unit: str, rest: str, least: int, most: int
) -> None:
    """The shortest and the longest are taken, one less and one more are not."""
    check(unit * least + rest)
    check(unit * most + rest)

    for length in (least - 1, most + 1):
        with pytest.raises(InvalidField):
            check(unit * length + rest)


def test_an_email_is_bounded_in_bytes() -> None:
    """A path of SMTP has at most 254 octets between its brackets."""
    check_email("é" * 126 + "@b")

    with pytest.raises(InvalidField, match="254 bytes"):
        check_email("é" * 127 + "@b")


@pytest.mark.parametrize("username", ["a@b", "@da", "ada@", "a\uff20b", "a\ufe6bb"])
def test_a_username_has_no_at(username: str) -> None:
    """Not even one that only folding shows, so no username can be another user's email."""
    with pytest.raises(InvalidField, match="must not contain @"):
        check_username(username)


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "@example.com",
        "ada@",
        "a@b@c",
        "a d@b",
        "ada\uff20example.com",
        "a@b\uff20c",
        "a\u00a0d@b",
    ],
)
def test_an_email_has_a_name_and_a_domain(email: str) -> None:
    """One @ with something on both sides, and no white space."""
    with pytest.raises(InvalidField, match=r"^email "):
        check_email(email)


@pytest.mark.parametrize(
    "email", ["a@b", "ada+keys@example.com", "o'neil@example.co.uk", "дана@пример.рф", "a@[::1]"]
)
def test_a_plausible_email_is_taken(email: str) -> None:
    """Whether an address exists is for its mail server to say."""
    check_email(email)


@pytest.mark.parametrize("username", ["ada", "Ada Lovelace", "дана", "名無し", "o'neil", "a.b-c_d"])
def test_usernames_of_all_scripts_are_taken(username: str) -> None:
    """There is no alphabet that a name has to be in."""
    check_username(username)


@pytest.mark.parametrize("fullname", ["X", "Zoë 👩\u200d🚀", "می\u200cخواهم", "O'Neil, Jr."])
def test_full_names_keep_what_their_scripts_need(fullname: str) -> None:
    """Joiners are part of how some names are written."""
    check_fullname(fullname)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "aDA"),
        ("STRASSE", "straße"),
        ("é", "e\u0301"),
        ("ﬁona", "fiona"),
        ("Ａｄａ", "ada"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("𝐀𝐝𝐚", "ada"),
        ("℡", "tel"),
        ("α\u0345\u0301", "ᾴ"),
        ("ada", " ada\t"),
        ("Ada@Example.COM", "ada@example.com"),
    ],
)
def test_names_that_read_the_same_have_one_key(one: str, other: str) -> None:
    """Case, width, ligatures, composition and white space around do not make another name."""
    assert key_of(one) == key_of(other) != NOBODY


@given(st.text(max_size=40))
def test_folding_is_stable_under_every_normal_form(text: str) -> None:
    """However the same text is composed or folded before, its key is one."""
    forms = {fold(normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}

    assert forms == {fold(text)} == {fold(fold(text))} == {fold(text.casefold())}


def test_what_is_far_too_long_is_not_even_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: 60 000 accents take seconds to put in order, and the event loop would wait for it."""
    normalize = Mock()
    monkeypatch.setattr(identifiers, "normalize", normalize)

    for take in (key_of, check_username, check_email, check_fullname):
        with suppress(InvalidField):
            take("\u0301\u0323" * 30_000)

    assert not normalize.called


# Each row of marks is out of order; those of the last two are no marks until they are decomposed.
UNSORTED = ["\u0301\u0323", "\u0345\u0327\u0301", "\u0301\u0f73", "\u0323\uff9e"]


@pytest.mark.parametrize("marks", UNSORTED)
@pytest.mark.parametrize("field", CHECKS)
def test_more_marks_than_a_letter_has_are_refused(field: str, marks: str) -> None:
    """F9: thirty in a row, as in Unicode's Stream-Safe Text Format, whatever they look like."""
    name = SAMPLE[field][0] + (marks * 30)[:30]

    CHECKS[field](name + SAMPLE[field][1:])
    with pytest.raises(InvalidField, match=f"^{field} .*30 marks") as refused:
        CHECKS[field](name + marks[30 % len(marks)] + SAMPLE[field][1:])
    assert refused.value.field == field


@pytest.mark.parametrize("marks", UNSORTED)
def test_a_row_of_marks_is_the_key_of_nobody(marks: str) -> None:
    """F9: whatever a stranger types at the sign-in, it is not put in order."""
    assert key_of("ada" + (marks * 30)[:30]) != NOBODY
    assert key_of("ada" + (marks * 31)[:31]) == NOBODY


def test_no_row_of_marks_is_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: what is normalised before a name is refused is one character after another."""
    normalised = Mock(side_effect=normalize)
    monkeypatch.setattr(identifiers, "normalize", normalised)
    marks = "\u0301\u0323" * 20

    for take in (key_of, check_username, check_email, check_fullname):
        with suppress(InvalidField):
            take(f"ada{marks}@b")

    assert {len(call.args[1]) for call in normalised.call_args_list} == {1}


@given(st.text(alphabet="a\u0301\u0323\u0344\u0f73\uff9e\u1f82\ufdfa", max_size=80))
def test_what_is_stream_safe_has_no_long_row_when_decomposed(text: str) -> None:
    """F9: so that the work grows with the length, whatever a character comes apart into."""
    marks = "".join("m" if combining(part) else " " for part in normalize("NFKD", text))
    longest = max(map(len, marks.split()), default=0)

    if is_stream_safe(text):
        assert longest <= 3 * 30 + 3
    else:
        assert longest > 30


@pytest.mark.parametrize("identifier", ["", "  ", "a" * 255, "\ud800", "ada\udc00"])
def test_what_nobody_can_be_called_has_the_key_of_nobody(identifier: str) -> None:
    """Whatever a stranger types at the sign-in, there is a key for it, and no user has that one."""
    assert key_of(identifier) == NOBODY
