"""What is kept of a device: what any list, log and database can hold, whoever tells it."""

from __future__ import annotations

from typing import Final

from .core.model import Device

__all__ = ["fit_to_be_kept"]

_LONGEST: Final = 256


def fit_to_be_kept(device: Device | None) -> Device:
    """The device without what cannot be printed, and cut to 256 characters a field: no client is
    refused for what it says of itself.

    Raises:
        TypeError: it is no device, or not of text. Nobody could read such a row again.
    """
    if device is None:
        return Device()
    if not _is_of_text(device):
        raise TypeError("a Device has text in user_agent and address, empty where none is known")
    return Device(user_agent=_shown(device.user_agent), address=_shown(device.address))


def _is_of_text(device: object) -> bool:
    """Whatever the caller's types say."""
    return isinstance(device, Device) and {type(device.user_agent), type(device.address)} == {str}


def _shown(text: str) -> str:
    return "".join(filter(str.isprintable, text))[:_LONGEST]
