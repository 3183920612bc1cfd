"""What may be a password."""

# ruff: noqa: RUF001  letters that look alike are what is tested

from __future__ import annotations

import gzip
import runpy
from pathlib import Path
from unicodedata import normalize
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.accounts import passwords
from keyturn.accounts.errors import PasswordRefused
from keyturn.accounts.identifiers import is_stream_safe
from keyturn.accounts.model import User
from keyturn.accounts.passwords import PACKED, PasswordRules, password_bytes
from keyturn.core.errors import ConfigurationError
from tests.support import START

ADA = User(
    id="id",
    username="Countess-1815",
    email="ada.byron@example.com",
    fullname="Ada Lovelace",
    created_at=START,
)
RULES = PasswordRules(service_name="Keyturn")
BUILD_BLOCKLIST = Path(__file__).parents[2] / "scripts/build_blocklist.py"


def refusal(password: str, rules: PasswordRules = RULES) -> str:
    with pytest.raises(PasswordRefused) as refused:
        rules.check(password, ADA)
    return str(refused.value)


@pytest.mark.parametrize("unit", ["q7", "äö", "字典", "🗝🔒"])
def test_lengths_count_code_points(unit: str) -> None:
    """F1: 8 to 1024 code points, each counted once, whatever its bytes."""
    RULES.check(unit * 4, ADA)
    RULES.check(unit * 512, ADA)

    assert "at least 8" in refusal(unit * 3 + unit[0])
    assert "at most 1024" in refusal(unit * 512 + unit[0])


def test_lengths_are_those_of_the_composed_form() -> None:
    """F1: a letter and its accents count once, though they come as four code points."""
    decomposed = normalize("NFD", "\u1f82")  # alpha with three marks

    assert len(decomposed) == 4
    RULES.check(decomposed * 1024, ADA)
    assert "at least 8" in refusal(decomposed * 7)


def test_the_least_length_is_a_setting() -> None:
    """F1: where the password is the only factor, 15 may be asked for."""
    rules = PasswordRules(min_length=15)

    rules.check("quixotic-otters", ADA)
    assert "at least 15" in refusal("quixotic-otter", rules)


@pytest.mark.parametrize("length", [-1, 7, 1025])
def test_an_impossible_least_length_is_refused(length: int) -> None:
    """The list of common passwords begins at 8, and nothing is longer than 1024."""
    with pytest.raises(ConfigurationError, match="password_min_length"):
        PasswordRules(min_length=length)


@pytest.mark.parametrize(
    "password",
    ["zvkqwjxhmp", "ZVKQWJXHMP", "8302751946", "        z", "~!@#$%^&*()_+", "tab\tand\0nul"],
)
def test_there_are_no_rules_of_composition(password: str) -> None:
    """F2: one kind of character will do, and every kind is taken."""
    RULES.check(password, ADA)


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=100).filter(is_stream_safe)
)
def test_nothing_is_cut_or_changed_but_composition(password: str) -> None:
    """F4: what is hashed is the whole password in NFC, with its case and its NULs."""
    assert password_bytes(password).decode() == normalize("NFC", password)


@pytest.mark.parametrize("password", ["a" * 1025, "\u0301" * 4097, "surrogate\ud800"])
def test_what_cannot_be_hashed_is_refused(password: str) -> None:
    """F4: too long, or not text: refused as a whole, never cut."""
    assert "text of at most 1024" in refusal(password)


def test_what_is_far_too_long_is_not_even_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: 60 000 accents take seconds to put in order, and the event loop would wait for it."""
    normalize = Mock()
    monkeypatch.setattr(passwords, "normalize", normalize)

    with pytest.raises(ValueError, match="too long"):
        password_bytes("\u0301\u0323" * 30_000)

    assert not normalize.called


def test_no_row_of_marks_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: a few thousand accents of one letter, out of order, take 50 ms of the event loop."""
    monkeypatch.setattr(passwords, "normalize", normalised := Mock())

    assert "at most 30 marks" in refusal("quixotic-otters" + "\u0301\u0323" * 16)
    assert not normalised.called


def test_as_many_marks_as_a_letter_ever_has_are_taken() -> None:
    """F1: of any script; and there may be any number of such letters."""
    RULES.check(("o" + "\u0323\u0302" * 15) * 8, ADA)


@pytest.mark.parametrize("password", ["password", "PassWord123", "qwertyuiop", "Football"])
def test_common_passwords_are_refused(password: str) -> None:
    """F3: in any case, by a list that is read offline, and the refusal says why."""
    assert "guessed first" in refusal(password)


@pytest.mark.parametrize(
    "password", ["xpassword", "password-otter", "drowssap7q", "password\npassword1"]
)
def test_common_passwords_are_compared_in_full(password: str) -> None:
    """F3: to hold a common word is no fault."""
    RULES.check(password, ADA)


def test_the_list_has_the_commonest_of_our_lengths() -> None:
    """F3: at least the 3000 commonest that the length rule allows, and none that it refuses."""
    listed = gzip.decompress(PACKED.read_bytes()).decode().splitlines()

    assert len(listed) >= 3000
    assert min(map(len, listed)) == 8


def test_the_list_is_what_its_script_builds() -> None:
    """F3: the packed list holds the frequency lists of zxcvbn, and nothing else."""
    listed = gzip.decompress(PACKED.read_bytes()).decode().splitlines()

    assert listed == runpy.run_path(str(BUILD_BLOCKLIST))["build"]()


@pytest.mark.parametrize(
    "password",
    [
        "countess-1815",
        "COUNTESS-1815",
        "5181-ssetnuoc",
        "ada.byron@example.com",
        "ada.byron",
        "Ada Lovelace",
        "byron_ada_99",
        "lovelace",
        "Lovelace1843",
        "1843lovelace!",
        "ecalevol99",
        "lovelacelovelace",
        "AdaLovelace",
        "ada-lovelace.7",
        "Ｌｏｖｅｌａｃｅ",
        "Keyturn1",
        "keyturnKEYTURN",
        "Ada@Keyturn2",
    ],
)
def test_names_known_of_the_user_are_refused(password: str) -> None:
    """F3: username, email, full name, the service's name, and simple derivatives of them."""
    assert "must not be your name" in refusal(password)


@pytest.mark.parametrize(
    "password", ["lovelace engine", "keyturn-otters", "ada83021946", "countess-of-1815-x"]
)
def test_names_within_a_longer_password_are_taken(password: str) -> None:
    """F3: what is left without the names is a password's worth, or has letters of its own."""
    RULES.check(password, ADA)


def test_the_service_needs_no_name() -> None:
    """F3: without a service name nothing is compared with one."""
    PasswordRules().check("Keyturn1", ADA)
