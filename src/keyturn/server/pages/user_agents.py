"""Browser and system in words, from the User-Agent. A guess for people to recognise a device by."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Software", "software_of"]


class Software(NamedTuple):
    """What a User-Agent says of its sender; empty where nothing known is said."""

    browser: str
    system: str


_BROWSERS: Final = (
    # Those first that name others to pass for them.
    ("Edge", r"\bEdg(e|A|iOS)?/"),
    ("Opera", r"\b(OPR|OPiOS|OPT)/|\bOpera\b"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Vivaldi", r"\bVivaldi/"),
    ("Yandex Browser", r"\bYaBrowser/"),
    ("DuckDuckGo", r"\b(DuckDuckGo|Ddg)/"),
    ("Firefox", r"\b(Firefox|FxiOS)/"),
    ("Chrome", r"\b(Chrome|CriOS|HeadlessChrome)/"),
    ("Chromium", r"\bChromium/"),
    ("Safari", r"\bVersion/[\d.]+ .*\bSafari/|\bMobile/\w+ Safari/"),
    ("Internet Explorer", r"\bTrident/|\bMSIE "),
    ("curl", r"^curl/"),
    ("Wget", r"^Wget/"),
    ("Python", r"^(python-|Python-|Python/)"),
    ("Node.js", r"^(node|undici|axios|node-fetch)\b"),
    ("Go", r"^Go-http-client/"),
    ("Java", r"^(Java|okhttp|Apache-HttpClient)/"),
)
_SYSTEMS: Final = (
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMacintosh\b|\bMac OS X\b"),
    ("Linux", r"\bLinux\b|\bX11\b"),
)


def software_of(user_agent: str) -> Software:
    """The browser, or other program, and the system."""
    return Software(_first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent))


def _first(table: tuple[tuple[str, str], ...], user_agent: str) -> str:
    return next((name for name, pattern in table if re.search(pattern, user_agent)), "")
