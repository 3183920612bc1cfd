"""Who is asking: the client's address and device. Nothing here ever lets anybody in."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from keyturn.core.model import Device
from keyturn.devices import fit_to_be_kept

from .http import Request

__all__ = ["address_of", "device_of", "is_trusted"]

_Address = IPv4Address | IPv6Address


def device_of(request: Request, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> Device:
    """The device as far as the request tells, fit to be shown."""
    told = (request.header(b"user-agent") or b"").decode("utf-8", "replace")
    return fit_to_be_kept(Device(user_agent=told, address=address_of(request, trusted_proxies)))


def address_of(request: Request, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """The client's address: the other end of the connection, unless that is a trusted proxy. Then
    it is the right-most address of ``X-Forwarded-For`` that is not one: those further left are
    whatever the client made up. Empty where there is none, as with a Unix socket.
    """
    address = _parse(request.client)
    if address is None:
        return ""
    hops = (request.header(b"x-forwarded-for") or b"").decode("latin-1").split(",")
    while hops and _is_among(trusted_proxies, address):
        hop = _parse(hops.pop().strip())
        if hop is None:
            break
        address = hop
    return str(address)


def is_trusted(client: str, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the other end of a connection is a trusted proxy."""
    address = _parse(client)
    return address is not None and _is_among(trusted_proxies, address)


def _is_among(networks: Sequence[IPv4Network | IPv6Network], address: _Address) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> _Address | None:
    """An address, with or without a port; of an IPv4 one in IPv6 clothes, the former."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    with suppress(ValueError):
        address = ip_address(text)
        return getattr(address, "ipv4_mapped", None) or address
    return None
