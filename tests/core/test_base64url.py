"""Base64url: one text for one value."""

from __future__ import annotations

import base64
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core import base64url


@given(st.binary(max_size=80))
def test_encoding_is_the_standard_one_without_padding(data: bytes) -> None:
    """RFC 7515, appendix C, as the standard library writes it."""
    assert base64url.encode(data) == base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(st.binary(max_size=80))
def test_decoding_gives_back_what_was_encoded(data: bytes) -> None:
    """Every value survives."""
    assert base64url.decode(base64url.encode(data)) == data


@given(st.text(alphabet=st.characters(max_codepoint=0x17F) | st.sampled_from("-_+/=Aa0\n")))
def test_a_text_that_is_read_is_the_only_one_for_its_value(text: str) -> None:
    """Either a text is refused, or encoding its value gives exactly that text."""
    assert not _is_read(text) or base64url.encode(base64url.decode(text)) == text


@pytest.mark.parametrize("before", ["", "A", "AA", "AAA"])
def test_of_all_texts_with_two_last_characters_those_are_read_that_are_written(before: str) -> None:
    """Whatever ASCII the two are, by every length modulo 4: as many as there are values."""
    texts = {before + chr(one) + chr(other) for one in range(128) for other in range(128)}
    beginnings = b"\0" * (len(before) * 6 // 8)
    size = (len(before) + 2) * 6 // 8
    values = (
        beginnings + bytes(rest) for rest in product(range(256), repeat=size - len(beginnings))
    )
    written = {base64url.encode(value) for value in values}

    assert {text for text in texts if _is_read(text)} == written & texts


def _is_read(text: str) -> bool:
    try:
        base64url.decode(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        *("A", "AAAAA", "QQ=", "QQ==", "QR", "QUJ", "QUI=", "=", "===="),
        *("QQ\n\n\n\nQQ", "QQ    QQ", "QQ****QQ", "QQ\0\0\0\0QQ", "QQ==QQQQ", "QUI=QUJD"),
        *("+w", "/w", " QQ", "QQ ", "QQ\n", "Q\nQ", "QQ\0", "Q*", "Q=Q", "QQ.QQ"),
        *("\uff21\uff21", "\u0410A", "\u0661A", "\ud800A", "Q\u200bQ"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Padding, other alphabets, lookalikes, white space, endings with spare bits set."""
    with pytest.raises(ValueError):  # noqa: PT011  the kind of ValueError is Python's business
        base64url.decode(text)
