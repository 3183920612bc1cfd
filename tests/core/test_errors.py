"""The errors: their tree, their codes, their remedies."""

from __future__ import annotations

import inspect
import re

import pytest

from keyturn.core import errors
from keyturn.core.errors import ConfigurationError, KeyturnError, Remedy, Unavailable

CLASSES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, KeyturnError)
]


def test_every_code_and_remedy_is_the_documented_one() -> None:
    """H1: clients are written against them, so none changes."""
    documented = {
        "KeyturnError": ("error", "none"),
        "ConfigurationError": ("configuration", "none"),
        "Unavailable": ("unavailable", "retry"),
        "StoreUnavailable": ("unavailable", "retry"),
        "RowUnavailable": ("unavailable", "retry"),
        "CutoffsStale": ("unavailable", "retry"),
        "RefreshRefused": ("error", "login"),
        "RefreshTokenMissing": ("refresh_token_missing", "login"),
        "RefreshTokenInvalid": ("refresh_token_invalid", "login"),
        "RefreshTokenReused": ("refresh_token_reused", "login"),
        "RefreshSuperseded": ("refresh_superseded", "retry"),
        "SessionOver": ("error", "login"),
        "SessionExpired": ("session_expired", "login"),
        "SessionRevoked": ("session_revoked", "login"),
        "AccessRefused": ("error", "refresh"),
        "AccessTokenMissing": ("access_token_missing", "refresh"),
        "AccessTokenInvalid": ("access_token_invalid", "refresh"),
        "AccessTokenExpired": ("access_token_expired", "refresh"),
        "AccessTokenRevoked": ("access_token_revoked", "refresh"),
        "SignInRaced": ("sign_in_raced", "retry"),
        "SessionUnknown": ("session_unknown", "none"),
        "ClaimsRefused": ("claims_refused", "none"),
    }

    assert {error.__name__: (error.code, error.remedy) for error in CLASSES} == documented


def test_the_tree_at_the_top_is_the_tree() -> None:
    """What a reader sees first is what the classes are."""
    drawn: dict[str, str] = {}
    path: list[str] = []
    for branch, name in re.findall(r"^([│├└─ ]*)(\w+)", str(errors.__doc__), re.MULTILINE):
        if name in vars(errors):
            path[len(branch) // 4 :] = [name]
            drawn[name] = path[-2] if len(path) > 1 else "Exception"

    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in CLASSES}


@pytest.mark.parametrize(
    "error",
    [error for error in CLASSES if error.code != "error" and error is not ConfigurationError],
)
def test_an_error_says_a_sentence_of_its_own(error: type[KeyturnError]) -> None:
    """H1: the message of the class, or the one it was given."""
    assert str(error()) == error.message != ""


def test_a_message_given_is_the_message_shown() -> None:
    """What is known in particular is told."""
    assert str(errors.ClaimsRefused("too large")) == "too large"
    assert str(ConfigurationError("secret", "is missing")) == "secret: is missing"


def test_the_over_session_says_why() -> None:
    """The reason travels to the client; none where no row is left to tell."""
    assert errors.SessionRevoked("evicted").reason == "evicted"
    assert errors.SessionExpired().reason == ""


@pytest.mark.parametrize("error", [Unavailable, errors.StoreUnavailable, errors.CutoffsStale])
def test_our_fault_says_when_to_try_again(error: type[Unavailable]) -> None:
    """C12: in seconds, for Retry-After."""
    assert error().retry_after == 1
    assert error("the disk is full", retry_after=7).retry_after == 7


def test_no_refusal_is_our_fault_and_no_fault_of_ours_is_a_refusal() -> None:
    """C12: whoever catches refusals to sign a user out never catches a failing store."""
    refusals = {error for error in CLASSES if issubclass(error, errors.RefreshRefused)}
    faults = {error for error in CLASSES if issubclass(error, Unavailable)}

    assert not refusals & faults
    assert all(error.remedy is Remedy.RETRY for error in faults)
