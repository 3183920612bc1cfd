"""A request as a value."""

from __future__ import annotations

from msgspec.structs import replace

from keyturn.wire.http import Request

ASKED = Request(
    "GET",
    "/",
    b"",
    [(b"accept", b"a"), (b"cookie", b"k=1; k=2"), (b"accept", b"b"), (b"accept", b"c")],
    b"",
    "192.0.2.1",
)


def test_a_repeated_header_is_one_value() -> None:
    """RFC 9110, section 5.3: all of them, in their order."""
    assert ASKED.header(b"accept") == b"a, b, c"


def test_a_request_with_other_headers_tells_those() -> None:
    """H5: what was looked for before is not what is found now."""
    before = ASKED.header(b"accept"), ASKED.cookie(b"k")
    other = replace(ASKED, headers=[(b"accept", b"d"), (b"cookie", b"k=3")])

    assert before == (b"a, b, c", ["1", "2"])
    assert (other.header(b"accept"), other.cookie(b"k")) == (b"d", ["3"])
