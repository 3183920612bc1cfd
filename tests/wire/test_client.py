"""Whose address and device it is."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from keyturn.core.model import Device
from keyturn.wire.client import address_of, device_of
from keyturn.wire.http import Header, Request

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def request(client: str, *headers: Header) -> Request:
    return Request("POST", "/login", b"", headers, b"", client)


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, <script>, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("fd00::1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("", ["203.0.113.9"], ""),
        ("not an address", ["203.0.113.9"], ""),
    ],
)
def test_the_address_is_the_last_one_that_somebody_trusted_saw(
    client: str, forwarded: list[str], address: str
) -> None:
    """H5: what a client writes into X-Forwarded-For is not believed, only what proxies add."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]

    assert address_of(request(client, *headers), PROXIES) == address


@pytest.mark.parametrize("header", [b"forwarded", b"x-real-ip", b"x-forwarded-host", b"host"])
def test_no_other_header_tells_the_address(header: bytes) -> None:
    """H5: not even from a trusted proxy."""
    told = request("10.0.0.1", (header, b"for=203.0.113.9"))

    assert address_of(told, PROXIES) == "10.0.0.1"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
        (b"a\x00b\x1b[31mc\x7f\r\nd", "ab[31mcd"),
        ("Ünïcode\u2028\u202e".encode(), "Ünïcode"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 10_000, "x" * 256),
    ],
)
def test_a_device_is_fit_to_be_shown(sent: bytes, kept: str) -> None:
    """H3: neither control characters nor endless names get into lists and logs."""
    device = device_of(request("192.0.2.1", (b"user-agent", sent)), ())

    assert device == Device(user_agent=kept, address="192.0.2.1")
