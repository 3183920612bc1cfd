"""The refresh token: its one form, what it takes to make one, and what is not one."""

from __future__ import annotations

import hashlib
import itertools
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core import base64url
from keyturn.core.errors import RefreshTokenInvalid
from keyturn.core.model import LAST_GENERATION
from keyturn.core.refresh_token import LENGTH, PREFIX, is_sid, mint, parse, proves
from keyturn.core.server_secret import ServerSecret, ServerSecrets

ONE = bytes(range(32))
OTHER = bytes(range(32, 64))
SECRETS = ServerSecrets([ONE])
SID = base64url.encode(bytes(range(100, 116)))
SESSION_SECRET = bytes(range(200, 232))
TOKEN = mint(SECRETS, SID, SESSION_SECRET, 7)
ALPHABET = string.ascii_letters + string.digits + "-_"

sids = st.binary(min_size=16, max_size=16).map(base64url.encode)
session_secrets = st.binary(min_size=32, max_size=32)
generations = st.integers(0, LAST_GENERATION)


def refused(token: str, secrets: ServerSecrets = SECRETS) -> bool:
    try:
        parse(secrets, token)
    except RefreshTokenInvalid:
        return True
    return False


@given(sids, session_secrets, generations)
def test_a_token_names_its_session_and_generation(
    sid: str, session_secret: bytes, generation: int
) -> None:
    """What was minted is read back, and proves that it was made from the session's secret."""
    token = parse(SECRETS, mint(SECRETS, sid, session_secret, generation))

    assert (token.sid, token.generation) == (sid, generation)
    assert proves(token, session_secret)


@given(sids, session_secrets, generations)
def test_a_token_has_75_characters_of_one_alphabet(
    sid: str, session_secret: bytes, generation: int
) -> None:
    """A10: nothing in it needs quoting in a cookie, a header or a URL."""
    token = mint(SECRETS, sid, session_secret, generation)

    assert len(token) == LENGTH == 75
    assert token.startswith(PREFIX)
    assert set(token.removeprefix(PREFIX)) <= set(ALPHABET)


@given(sids, session_secrets, generations)
def test_a_token_can_be_made_again(sid: str, session_secret: bytes, generation: int) -> None:
    """C2: so that none has to be kept."""
    again = ServerSecrets([ONE])

    assert mint(again, sid, session_secret, generation) == mint(
        SECRETS, sid, session_secret, generation
    )


@pytest.mark.parametrize("generation", [-1, LAST_GENERATION + 1])
def test_a_generation_that_four_bytes_cannot_hold_is_not_minted(generation: int) -> None:
    """It would pass for another one."""
    with pytest.raises(ValueError, match="four bytes"):
        mint(SECRETS, SID, SESSION_SECRET, generation)


def test_no_changed_character_goes_unnoticed() -> None:
    """C10: every one of the 75 characters, changed to every other of the alphabet."""
    changed = (
        TOKEN[:place] + character + TOKEN[place + 1 :]
        for place in range(LENGTH)
        for character in ALPHABET
        if character != TOKEN[place]
    )

    assert all(refused(token) for token in changed)


@pytest.mark.parametrize("place", [0, 3, 4, 40, 74])
@pytest.mark.parametrize(
    "character",
    [
        *("+", "/", "=", ".", ",", ";", '"', "\\", " ", "\t", "\n", "\r", "\0", "\x7f"),
        *("\x85", "\xa0", "é", "\u0430", "\u0661", "\uff21", "\u200b", "\ud800", "😀"),
    ],
)
def test_no_other_character_is_read(place: int, character: str) -> None:
    """Other alphabets, white space, controls, lookalikes, digits of other scripts, surrogates."""
    assert refused(TOKEN[:place] + character + TOKEN[place + 1 :])


@pytest.mark.parametrize(
    "token",
    [
        "",
        PREFIX,
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN + "=",
        TOKEN + "\n",
        " " + TOKEN,
        f'"{TOKEN}"',
        TOKEN * 2,
        TOKEN[4:],
        TOKEN[:73] + "==",
        TOKEN[:74] + "=",
        "A" * LENGTH,
        PREFIX + "A" * 71,
        PREFIX + "_" * 71,
        "\0" * LENGTH,
        "\ud800" * LENGTH,
        TOKEN.upper(),
        TOKEN.lower(),
        TOKEN[::-1],
    ],
)
def test_no_other_form_is_read(token: str) -> None:
    """74 and 76 characters, padding, quotes, white space, no prefix."""
    assert refused(token)


@pytest.mark.parametrize("prefix", ["KTR_", "Ktr_", "ktR_", "ktr-", "ktr.", "\uff4btr_", "rtk_"])
def test_the_prefix_is_compared_letter_by_letter(prefix: str) -> None:
    """Not in another case, nor one that looks like it."""
    assert refused(prefix + TOKEN[4:])


def test_only_the_canonical_ending_is_read() -> None:
    """The last character carries two spare bits: three other texts would decode to the same."""
    last = ALPHABET_IN_ORDER.index(TOKEN[-1])
    twins = [TOKEN[:-1] + ALPHABET_IN_ORDER[last + spare] for spare in (1, 2, 3)]

    assert last % 4 == 0
    assert all(refused(twin) for twin in twins)


ALPHABET_IN_ORDER = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def test_an_access_token_is_not_a_refresh_token() -> None:
    """D14: refused by its form, before anything is asked of the store."""
    assert refused("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln")
    assert refused(("eyJhbGciOiJFUzI1NiJ9." + "e" * 80)[:LENGTH])


def test_the_database_alone_makes_no_token() -> None:
    """C2: with the session's secret, but another server secret, the tag is wrong."""
    forged = mint(ServerSecrets([OTHER]), SID, SESSION_SECRET, 7)

    assert refused(forged)


def test_the_database_alone_makes_no_token_by_naming_our_secret() -> None:
    """C2: claiming our secret's id does not help."""
    raw = base64url.decode(mint(ServerSecrets([OTHER]), SID, SESSION_SECRET, 7)[4:])

    assert refused(PREFIX + base64url.encode(bytes((SECRETS.first.key_id,)) + raw[1:]))


def test_the_servers_secret_alone_makes_no_token() -> None:
    """C2: without the session's secret the tag is right and the proof is wrong."""
    forged = parse(SECRETS, mint(SECRETS, SID, OTHER, 7))

    assert not proves(forged, SESSION_SECRET)


@given(generations, generations)
def test_a_proof_is_of_one_generation(generation: int, other: int) -> None:
    """C1: knowing one generation's proof tells nothing about the next."""
    proofs = {
        parse(SECRETS, mint(SECRETS, SID, SESSION_SECRET, n)).proof for n in (generation, other)
    }

    assert len(proofs) == len({generation, other})


def test_proof_and_tag_have_128_bits_each() -> None:
    """C1: what must be guessed is twice what is asked for."""
    raw = base64url.decode(TOKEN[4:])

    assert len(raw) == 1 + 16 + 4 + 16 + 16
    assert raw[21:37] == parse(SECRETS, TOKEN).proof


def test_a_new_secret_is_added_then_promoted_and_nobody_notices() -> None:
    """All configured secrets check, the first makes, whatever stage another process is at."""
    stages = [ServerSecrets(stage) for stage in ([ONE], [ONE, OTHER], [OTHER, ONE], [OTHER])]

    for older, newer in itertools.pairwise(stages):
        assert not refused(mint(older, SID, SESSION_SECRET, 7), newer)
        assert not refused(mint(newer, SID, SESSION_SECRET, 7), older)


def test_the_first_secret_signs() -> None:
    """Promotion is a change of order."""
    assert mint(ServerSecrets([OTHER, ONE]), SID, SESSION_SECRET, 7) == mint(
        ServerSecrets([OTHER]), SID, SESSION_SECRET, 7
    )


def test_a_removed_secret_checks_nothing() -> None:
    """H9: after its removal its tokens are not ours any more."""
    assert refused(TOKEN, ServerSecrets([OTHER]))


def test_two_secrets_of_one_id_both_check() -> None:
    """An id is one byte, so now and then two secrets share theirs."""
    twin = next(
        secret
        for secret in (hashlib.sha256(bytes((n >> 8, n & 255))).digest() for n in range(1 << 16))
        if ServerSecret(secret).key_id == SECRETS.first.key_id
    )
    both = ServerSecrets([twin, ONE])

    assert parse(both, TOKEN).generation == 7
    assert parse(both, mint(both, SID, SESSION_SECRET, 8)).generation == 8
    assert refused(mint(ServerSecrets([twin]), SID, SESSION_SECRET, 8))


def test_a_refusal_says_nothing_of_the_token() -> None:
    """H1, H3: the message is one sentence, whatever was presented."""
    with pytest.raises(RefreshTokenInvalid) as refusal:
        parse(SECRETS, TOKEN[:-1] + "!")

    assert str(refusal.value) == "Invalid refresh token"
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


@given(sids)
def test_a_session_id_has_the_form_of_one(sid: str) -> None:
    """Every id that a token can name."""
    assert is_sid(sid)


@pytest.mark.parametrize(
    "text",
    [
        *("", SID[:-1], SID + "A", SID[:-1] + "B", SID[:-1] + "=", SID[:-1] + "+", SID[:-1] + "\n"),
        *("../../../../etc/passwd", "' OR 1=1 --           ", "\ud800" * 22, "\0" * 22, "é" * 22),
        *(None, 22, SID.encode(), [SID]),
    ],
)
def test_what_has_not_the_form_of_a_session_id_names_none(text: Any) -> None:
    """G9: such a text need not be asked of the store."""
    assert not is_sid(text)
