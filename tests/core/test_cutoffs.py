"""The view of what is revoked."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.cutoffs import CutoffView
from keyturn.core.model import ALL_VERSIONS, Cutoff, EndReason

SID = "A" * 22
OTHER_SID = "B" * 22
NEVER = 10**12

cutoffs = st.builds(
    Cutoff,
    sid=st.sampled_from([None, SID, OTHER_SID]),
    version=st.sampled_from([0, 1, 2, 3, ALL_VERSIONS]),
    expires_at=st.sampled_from([100, 200]),
    reason=st.none() | st.sampled_from(EndReason),
)


def view_of(*applied: Cutoff) -> CutoffView:
    view = CutoffView()
    view.apply(applied)
    return view


def said(view: CutoffView) -> tuple[object, ...]:
    return view.of(SID), view.of(OTHER_SID), view.issued_until, len(view.live)


@given(st.lists(cutoffs, max_size=4), st.data())
def test_neither_order_nor_repetition_shows(applied: list[Cutoff], data: st.DataObject) -> None:
    """Two processes that learnt the same, in whatever order and however often, judge alike."""
    again = data.draw(
        st.permutations(
            applied
            + data.draw(st.lists(st.sampled_from(applied or [Cutoff(None, 0, 0)]), max_size=4))
        )
    )

    assert said(view_of(*again)) == said(view_of(*applied))


@given(st.lists(cutoffs, max_size=6), st.integers(0, 6))
def test_learning_in_parts_is_learning_at_once(applied: list[Cutoff], split: int) -> None:
    """A poll may end anywhere."""
    view = view_of(*applied[:split])

    view.apply(applied[split:])

    assert said(view) == said(view_of(*applied))


@pytest.mark.parametrize(("version", "void"), [(0, True), (5, True), (6, False), (7, False)])
def test_a_cutoff_voids_up_to_its_version(version: int, void: bool) -> None:  # noqa: FBT001
    """D10: by session and version, never by the token's text."""
    view = view_of(Cutoff(SID, 5, NEVER))

    assert view.voids(SID, version, 1000) is void
    assert not view.voids(OTHER_SID, version, 1000)


def test_the_end_of_a_session_voids_every_version() -> None:
    """C7: and tells that the session has ended, and why."""
    cutoff = Cutoff(SID, ALL_VERSIONS, NEVER, EndReason.LOGGED_OUT)
    view = view_of(cutoff)

    assert view.voids(SID, ALL_VERSIONS, 1000)
    assert view.of(SID) == cutoff


def test_a_change_of_claims_is_not_the_end() -> None:
    """The session lives, its older tokens do not."""
    view = view_of(Cutoff(SID, 5, NEVER))

    assert view.of(OTHER_SID) is None
    assert view.of(SID) == Cutoff(SID, 5, NEVER)


@pytest.mark.parametrize(("issued_at", "void"), [(999, True), (1000, True), (1001, False)])
def test_the_emergency_cutoff_voids_by_time_of_issue(issued_at: int, void: bool) -> None:  # noqa: FBT001
    """H9: every session's tokens issued at or before it, of any version."""
    view = view_of(Cutoff(None, 1000, NEVER))

    assert view.issued_until == 1000
    assert view.voids(SID, ALL_VERSIONS, issued_at) is void
    assert view.live == ()


def test_an_older_emergency_cutoff_takes_nothing_back() -> None:
    """The latest time rules."""
    view = view_of(Cutoff(None, 1000, NEVER), Cutoff(None, 900, NEVER))

    assert view.voids(SID, 0, 1000)


def test_expired_cutoffs_are_forgotten_to_the_second() -> None:
    """The view grows with what was revoked of late, no more."""
    view = view_of(Cutoff(SID, ALL_VERSIONS, 100), Cutoff(OTHER_SID, ALL_VERSIONS, 101))

    view.forget(100)

    assert (view.of(SID), len(view.live)) == (None, 1)
    assert view.of(OTHER_SID) is not None


def test_the_later_expiry_of_one_end_rules() -> None:
    """An end that was done again is not forgotten at the first one's time."""
    ends = [Cutoff(SID, ALL_VERSIONS, 100), Cutoff(SID, ALL_VERSIONS, 200)]

    for order in itertools.permutations(ends):
        view = view_of(*order)
        view.forget(150)
        assert view.voids(SID, 0, 0)


def test_a_view_never_loaded_says_so() -> None:
    """H4: so that verify can refuse to vouch for anything."""
    view = CutoffView()

    assert view.known_at is None
    view.caught_up(1000.5)
    assert view.known_at == 1000.5
