"""Base64url: one text for one value."""

from __future__ import annotations

import base64

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
    try:
        data = base64url.decode(text)
    except ValueError:
        return

    assert base64url.encode(data) == text


@pytest.mark.parametrize(
    "text",
    [
        *("A", "AAAAA", "QQ=", "QQ==", "QR", "QUJ", "QUI=", "=", "===="),
        *("+w", "/w", " QQ", "QQ ", "QQ\n", "Q\nQ", "QQ\0", "Q*", "Q=Q", "QQ.QQ"),
        *("\uff21\uff21", "\u0410A", "\u0661A", "\ud800A", "Q\u200bQ"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Padding, other alphabets, lookalikes, white space, endings with spare bits set."""
    with pytest.raises(ValueError):  # noqa: PT011  the kind of ValueError is Python's business
        base64url.decode(text)
