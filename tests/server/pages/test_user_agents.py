"""Browsers and systems in words."""

from __future__ import annotations

import pytest

from keyturn.server.pages.user_agents import software_of

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "browser", "system"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox",
            "Linux",
        ),
        (
            "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
            "Firefox",
            "Android",
        ),
        (
            (
                f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {APPLE}"
                " FxiOS/140.0 Mobile/15E148 Safari/605.1.15"
            ),
            "Firefox",
            "iPhone",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/150.0.0.0 Safari/537.36",
            "Chrome",
            "Windows",
        ),
        (
            f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0",
            "Edge",
            "Windows",
        ),
        (
            (
                f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/150.0.0.0 Mobile Safari/537.36"
                " EdgA/150.0.0.0"
            ),
            "Edge",
            "Android",
        ),
        (
            f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/150.0.0.0 Safari/537.36 OPR/120.0",
            "Opera",
            "Linux",
        ),
        (
            (
                f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0"
                " Mobile Safari/537.36"
            ),
            "Samsung Internet",
            "Android",
        ),
        (
            f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/150.0.0.0 Safari/537.36",
            "Chrome",
            "ChromeOS",
        ),
        (
            f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/156.0.0.0 Safari/537.36",
            "Chrome",
            "Linux",
        ),
        (
            (
                f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {APPLE}"
                " Version/19.0 Safari/605.1.15"
            ),
            "Safari",
            "macOS",
        ),
        (
            (
                f"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) {APPLE}"
                " Version/18.5 Mobile/15E148 Safari/604.1"
            ),
            "Safari",
            "iPad",
        ),
        (
            (
                f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {APPLE}"
                " CriOS/150.0.0.0 Mobile/15E148 Safari/604.1"
            ),
            "Chrome",
            "iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0; Trident/7.0; rv:11.0)", "Internet Explorer", "Windows"),
        ("curl/8.15.0", "curl", ""),
        ("python-httpx/0.28.1", "Python", ""),
        ("node", "Node.js", ""),
        ("Go-http-client/2.0", "Go", ""),
        ("Mozilla/5.0 (X11; Linux x86_64)", "", "Linux"),
        ("", "", ""),
        ("something/1.0", "", ""),
        ("Chromebook curl/8 nodes", "", ""),
    ],
)
def test_the_usual_ones_are_known(user_agent: str, browser: str, system: str) -> None:
    """Each by its own name, though it names others; what is not known is not guessed."""
    assert software_of(user_agent) == (browser, system)
