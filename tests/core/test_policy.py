"""What a policy may say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.core.model import DAY, Policy


def test_the_defaults_are_the_documented_ones() -> None:
    """D12, G2, G3: ten minutes of access, half a minute of window, 30 and 180 days, 50 devices."""
    assert msgspec.structs.asdict(Policy()) == {
        "access_ttl": 600,
        "retry_window": 30,
        "recover": True,
        "idle_timeout": 30 * DAY,
        "absolute_lifetime": 180 * DAY,
        "max_sessions": 50,
        "leeway": 60,
        "event_retention": 90 * DAY,
    }


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"access_ttl": 0}, "access_ttl"),
        ({"access_ttl": -1}, "access_ttl"),
        ({"retry_window": -1}, "retry_window"),
        ({"idle_timeout": 0}, "idle_timeout"),
        ({"absolute_lifetime": 0}, "absolute_lifetime"),
        ({"max_sessions": 0}, "max_sessions"),
        ({"leeway": -1}, "leeway"),
        ({"idle_timeout": 1199}, "idle_timeout"),
        ({"access_ttl": 61, "idle_timeout": 121}, "idle_timeout"),
        ({"access_ttl": 1, "idle_timeout": 30}, "idle_timeout"),
        ({"absolute_lifetime": 30 * DAY - 1}, "absolute_lifetime"),
    ],
)
def test_an_impossible_policy_names_the_setting(settings: dict[str, Any], named: str) -> None:
    """One line tells what to change."""
    with pytest.raises(ConfigurationError) as refusal:
        Policy(**settings)

    assert refusal.value.setting == named
    assert str(refusal.value).startswith(f"{named}: must be")


@pytest.mark.parametrize(
    "settings",
    [
        {"retry_window": 0, "recover": False},
        {"idle_timeout": 1200},
        {"access_ttl": 60, "idle_timeout": 31},
        {"access_ttl": 1, "retry_window": 0, "idle_timeout": 1, "absolute_lifetime": 1},
        {"absolute_lifetime": 30 * DAY},
    ],
)
def test_what_is_just_possible_is_allowed(settings: dict[str, Any]) -> None:
    """The bounds themselves are good."""
    policy = Policy(**settings)

    assert {name: getattr(policy, name) for name in settings} == settings


def test_a_policy_is_judged_again_when_it_is_changed() -> None:
    """A copy with another value is held to the same rules."""
    with pytest.raises(ConfigurationError, match="retry_window"):
        msgspec.structs.replace(Policy(), retry_window=-1)
