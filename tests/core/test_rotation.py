"""The table of verdicts, cell by cell, and what holds for every row and every token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from keyturn.core.model import DAY, LAST_GENERATION, Claims, Device, EndReason, Policy, Session
from keyturn.core.rotation import Verdict, absolute_end, decide, ending, idle_end

TURNED_AT = 1_000_000
POLICY = Policy()
NEVER_INSIDE = Policy(retry_window=0)
STRICT = Policy(retry_window=0, recover=False)

# previous parent 3, its children 4 to 7, of which 6 turned; its children 8 to 10 are the live ones
ROW = Session(
    sid="A" * 22,
    user_id="ada",
    secret=b"s" * 32,
    created_at=TURNED_AT - 1000,
    generation=10,
    parent=6,
    first_child=8,
    previous_parent=3,
    turned_at=TURNED_AT,
    version=5,
    claims=Claims(username="ada"),
    device=Device(user_agent="browser"),
)
AT_LOGIN = Session(sid="B" * 22, user_id="ada", secret=b"s" * 32, created_at=TURNED_AT)

INSIDE = [-30, -29, -1, 0, 1, 29, 30]
OUTSIDE = [-1000, -31, 31, 32, 1_000_000]


def after_rotate(presented: int, now: int) -> dict[str, Any]:
    marks = {"previous_parent": 6, "parent": presented, "first_child": 11, "generation": 11}
    return {**marks, **used(now)}


def after_recover(now: int) -> dict[str, Any]:
    return {"previous_parent": 10, "generation": 11, **used(now)}


def after_resume(presented: int, now: int) -> dict[str, Any]:
    return {"generation": presented, **used(now)}


def used(now: int) -> dict[str, Any]:
    is_later_day = now // DAY > TURNED_AT // DAY
    return {"turned_at": now, "used_before": TURNED_AT if is_later_day else None}


def after_end(reason: EndReason, now: int) -> dict[str, Any]:
    return {"secret": None, "ended_at": now, "end_reason": reason}


def test_the_last_use_before_the_day_is_kept_through_it() -> None:
    """G4: however often a session is used on a day, and where a clock is behind another's."""
    midnight = TURNED_AT - TURNED_AT % DAY + DAY
    uses = [midnight - 100, midnight - 50, midnight, midnight + 50, midnight - 1, midnight + DAY]
    session, kept = AT_LOGIN, []
    for now in uses:
        turned = decide(session, session.generation, now, NEVER_INSIDE).session
        assert turned is not None
        session = turned
        kept.append(session.used_before)

    assert kept == [None, None, midnight - 50, midnight - 50, midnight - 50, midnight - 1]


@pytest.mark.parametrize("age", INSIDE)
@pytest.mark.parametrize(
    ("presented", "verdict", "handed_out"),
    [
        (10, Verdict.ECHO, 10),
        (9, Verdict.ECHO, 9),
        (8, Verdict.ECHO, 8),
        (7, Verdict.LATE, None),
        (6, Verdict.REPLAY, 10),
        (5, Verdict.LATE, None),
        (4, Verdict.LATE, None),
        (3, Verdict.LATE, None),
    ],
)
def test_inside_the_window_tokens_of_the_last_turns_change_nothing(
    age: int, presented: int, verdict: Verdict, handed_out: int | None
) -> None:
    """C8: children echo, the parent replays, what this turn superseded is late; no write."""
    decision = decide(ROW, presented, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (verdict, handed_out)
    assert decision.session is ROW


@pytest.mark.parametrize("age", INSIDE)
@pytest.mark.parametrize("presented", [2, 1, 0])
def test_inside_the_window_what_is_older_than_the_previous_parent_is_reuse(
    age: int, presented: int
) -> None:
    """C3: an old copy ends the session even between two exchanges of a thief who polls."""
    decision = decide(ROW, presented, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.REUSE, None)
    ended = after_end(EndReason.REUSE_DETECTED, TURNED_AT + age)
    assert decision.session == replace(ROW, **ended)


@pytest.mark.parametrize("age", OUTSIDE)
@pytest.mark.parametrize("presented", [8, 9, 10])
def test_outside_the_window_a_child_turns_and_its_siblings_are_dead(
    age: int, presented: int
) -> None:
    """C3: the child becomes the parent, one new child is handed out, the window opens anew."""
    decision = decide(ROW, presented, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.ROTATE, 11)
    assert decision.session == replace(ROW, **after_rotate(presented, TURNED_AT + age))


@pytest.mark.parametrize("age", OUTSIDE)
def test_outside_the_window_the_parent_recovers(age: int) -> None:
    """C8: no child was ever used, so its answer was lost; the children of before stay good."""
    decision = decide(ROW, 6, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.RECOVER, 11)
    assert decision.session == replace(ROW, **after_recover(TURNED_AT + age))


@pytest.mark.parametrize("age", OUTSIDE)
@pytest.mark.parametrize("presented", [7, 5, 4, 3, 2, 0])
def test_outside_the_window_what_is_no_child_and_no_parent_is_reuse(
    age: int, presented: int
) -> None:
    """C3, C8: also the parent's siblings and the previous parent."""
    decision = decide(ROW, presented, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.REUSE, None)
    ended = after_end(EndReason.REUSE_DETECTED, TURNED_AT + age)
    assert decision.session == replace(ROW, **ended)


@pytest.mark.parametrize("age", [*INSIDE, *OUTSIDE])
@pytest.mark.parametrize("presented", [11, 12, LAST_GENERATION])
def test_a_token_newer_than_the_row_resumes(age: int, presented: int) -> None:
    """The store lost commits: the row takes the token's generation and nobody is signed out."""
    decision = decide(ROW, presented, TURNED_AT + age, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.RESUME, presented)
    assert decision.session == replace(ROW, **after_resume(presented, TURNED_AT + age))


@pytest.mark.parametrize("policy", [NEVER_INSIDE, STRICT])
@pytest.mark.parametrize("age", [-1, 0, 1])
def test_a_window_of_zero_is_never_open(policy: Policy, age: int) -> None:
    """Not even in the second of the turn, nor for a clock that is behind."""
    decision = decide(ROW, 10, TURNED_AT + age, policy)

    assert decision.verdict is Verdict.ROTATE


@pytest.mark.parametrize(
    ("policy", "verdict"), [(NEVER_INSIDE, Verdict.RECOVER), (STRICT, Verdict.REUSE)]
)
def test_recovery_is_a_setting(policy: Policy, verdict: Verdict) -> None:
    """Without window and recovery every refresh token is good for one exchange."""
    decision = decide(ROW, 6, TURNED_AT, policy)

    assert decision.verdict is verdict


def test_without_recovery_the_parent_is_still_replayed_inside_the_window() -> None:
    """The window is for repeats; recovery is for what comes after it."""
    policy = Policy(recover=False)

    inside = decide(ROW, 6, TURNED_AT + 30, policy)
    outside = decide(ROW, 6, TURNED_AT + 31, policy)

    assert (inside.verdict, outside.verdict) == (Verdict.REPLAY, Verdict.REUSE)


@pytest.mark.parametrize("age", [-1000, 0, 1, 30])
def test_the_first_exchange_needs_no_waiting(age: int) -> None:
    """At login no window is open, whatever the clock says."""
    decision = decide(AT_LOGIN, 0, TURNED_AT + age, POLICY)

    turned = replace(
        AT_LOGIN,
        previous_parent=-1,
        parent=0,
        first_child=1,
        generation=1,
        turned_at=TURNED_AT + age,
    )
    assert (decision.verdict, decision.handed_out) == (Verdict.ROTATE, 1)
    assert decision.session == turned


def test_no_row_is_the_end() -> None:
    """A session that the store does not know is over, and nothing is written."""
    decision = decide(None, 3, TURNED_AT, POLICY)

    assert (decision.verdict, decision.session, decision.handed_out) == (Verdict.ENDED, None, None)


@pytest.mark.parametrize("presented", [0, 6, 8, 10, 11])
@pytest.mark.parametrize("reason", list(EndReason))
def test_an_ended_row_stays_as_it_is(reason: EndReason, presented: int) -> None:
    """C7: no token revives it, none changes its time or reason."""
    row = replace(ROW, **after_end(reason, TURNED_AT - 1))

    decision = decide(row, presented, TURNED_AT, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.ENDED, None)
    assert decision.session is row


@pytest.mark.parametrize(
    ("before_end", "verdict"), [(1, Verdict.ROTATE), (0, Verdict.ENDED), (-1, Verdict.ENDED)]
)
def test_the_idle_end_is_judged_to_the_second(before_end: int, verdict: Verdict) -> None:
    """C5, G2: the session is over when idle_timeout has passed since the last turn."""
    now = TURNED_AT + POLICY.idle_timeout - before_end

    decision = decide(ROW, 10, now, POLICY)

    assert decision.verdict is verdict
    if verdict is Verdict.ENDED:
        assert decision.session == replace(ROW, **after_end(EndReason.IDLE, now))


@pytest.mark.parametrize(
    ("before_end", "verdict"), [(1, Verdict.ROTATE), (0, Verdict.ENDED), (-1, Verdict.ENDED)]
)
def test_the_absolute_end_is_judged_to_the_second(before_end: int, verdict: Verdict) -> None:
    """C5, G2: no turn moves it, however recent."""
    now = ROW.created_at + POLICY.absolute_lifetime - before_end
    row = replace(ROW, turned_at=now - 31)

    decision = decide(row, 10, now, POLICY)

    assert decision.verdict is verdict
    if verdict is Verdict.ENDED:
        assert decision.session == replace(row, **after_end(EndReason.ABSOLUTE, now))


def test_a_token_newer_than_the_row_resumes_past_the_idle_end() -> None:
    """The turn that the store lost is not known to be long ago."""
    now = TURNED_AT + POLICY.idle_timeout

    decision = decide(ROW, 11, now, POLICY)

    assert decision.verdict is Verdict.RESUME
    assert decision.session == replace(ROW, **after_resume(11, now))


def test_no_token_resumes_past_the_absolute_end() -> None:
    """C5: the row knows when it was begun, whatever commits were lost."""
    now = ROW.created_at + POLICY.absolute_lifetime

    decision = decide(ROW, 11, now, POLICY)

    assert decision.verdict is Verdict.ENDED
    assert decision.session == replace(ROW, **after_end(EndReason.ABSOLUTE, now))


def test_a_session_past_both_ends_ended_absolutely() -> None:
    """The order of judgement: absolute before idle."""
    now = ROW.created_at + POLICY.absolute_lifetime + POLICY.idle_timeout

    assert ending(ROW, now, POLICY) is EndReason.ABSOLUTE


def test_an_end_is_judged_before_reuse() -> None:
    """A session that is over is not accused of anything."""
    now = TURNED_AT + POLICY.idle_timeout

    decision = decide(ROW, 0, now, POLICY)

    assert decision.session == replace(ROW, **after_end(EndReason.IDLE, now))


def test_idleness_counts_from_login_where_there_was_no_turn() -> None:
    """G2: a session that was never exchanged ends idle_timeout after its beginning."""
    now = AT_LOGIN.created_at + POLICY.idle_timeout

    assert ending(AT_LOGIN, now - 1, POLICY) is None
    assert ending(AT_LOGIN, now, POLICY) is EndReason.IDLE


def test_the_ends_are_told_as_times() -> None:
    """C14: what a client is told of its session's end is what it is judged by."""
    assert idle_end(ROW, POLICY) == TURNED_AT + POLICY.idle_timeout
    assert absolute_end(ROW, POLICY) == ROW.created_at + POLICY.absolute_lifetime


def test_a_clock_that_was_set_back_never_shortens_a_session() -> None:
    """The session counts as used at its beginning where its turn seems to be earlier."""
    row = replace(ROW, turned_at=ROW.created_at - 500)

    assert idle_end(row, POLICY) == row.created_at + POLICY.idle_timeout


@pytest.mark.parametrize("presented", [LAST_GENERATION - 1, LAST_GENERATION])
def test_a_session_that_used_up_its_generations_is_over(presented: int) -> None:
    """No generation is handed out that the token's four bytes cannot hold."""
    row = replace(ROW, generation=LAST_GENERATION)

    decision = decide(row, presented, TURNED_AT + 31, POLICY)

    ended = after_end(EndReason.ABSOLUTE, TURNED_AT + 31)
    assert decision.verdict is Verdict.ENDED
    assert decision.session == replace(row, **ended)


def test_the_last_generation_is_handed_out() -> None:
    """The one before it still turns."""
    row = replace(ROW, generation=LAST_GENERATION - 1)

    decision = decide(row, LAST_GENERATION - 1, TURNED_AT + 31, POLICY)

    assert (decision.verdict, decision.handed_out) == (Verdict.ROTATE, LAST_GENERATION)


# What holds for every row.

PROTOCOL = {"generation", "parent", "first_child", "previous_parent", "turned_at"}
END = {"secret", "ended_at", "end_reason"}


@st.composite
def living_rows(draw: st.DrawFn) -> Session:
    """Rows as the protocol leaves them: previous parent < parent < first child <= generation, or
    after a recovery the previous parent right below the generation.
    """
    marks = draw(st.lists(st.integers(0, 40), min_size=3, max_size=3, unique=True).map(sorted))
    newest = marks[2] + draw(st.integers(0, 6))
    return replace(
        ROW,
        previous_parent=draw(st.sampled_from([marks[0] - 2, newest - 1])),
        parent=marks[1] - 2,
        first_child=marks[2] - 1,
        generation=newest,
        turned_at=draw(st.none() | st.just(TURNED_AT)),
    )


def ended(row: Session, reason: EndReason) -> Session:
    return replace(row, **after_end(reason, TURNED_AT))


rows = living_rows() | st.builds(ended, living_rows(), st.sampled_from(EndReason))
tokens = st.integers(0, 60)
times = st.integers(TURNED_AT - 100, TURNED_AT + 100) | st.integers(0, 2 * TURNED_AT)
policies = st.sampled_from([POLICY, NEVER_INSIDE, STRICT, Policy(recover=False)])


def changed(before: Session, after: Session | None) -> set[str]:
    assert after is not None
    old, new = asdict(before), asdict(after)
    return {name for name in old if old[name] != new[name]}


@given(rows, tokens, st.integers(-30, 30), policies.filter(lambda policy: policy.retry_window))
def test_no_generation_changes_inside_the_window(
    row: Session, presented: int, age: int, policy: Policy
) -> None:
    """A storm of exchanges costs reads, not writes: but for resume, and for who was left behind."""
    row = replace(row, turned_at=TURNED_AT)

    decision = decide(row, presented, TURNED_AT + age, policy)

    turned = changed(row, decision.session) & PROTOCOL
    assert not turned or presented > row.generation or presented < row.previous_parent


@given(living_rows(), st.integers(-30, 30))
def test_who_was_left_behind_turns_inside_the_window(row: Session, age: int) -> None:
    """Else whoever has the parent recovered at the end of every window would never be met."""
    row = replace(row, turned_at=TURNED_AT)

    for child in range(row.first_child, row.generation + 1):
        verdict = decide(row, child, TURNED_AT + age, POLICY).verdict
        assert verdict is (Verdict.ROTATE if child < row.previous_parent else Verdict.ECHO)


@given(rows, tokens, times, policies)
def test_a_verdict_writes_the_protocols_columns_or_those_of_the_end_and_no_others(
    row: Session, presented: int, now: int, policy: Policy
) -> None:
    """Whose session it is, since when and with which claims is not the protocol's business; when it
    was used last, before today, is written beside a turn.
    """
    decision = decide(row, presented, now, policy)

    columns = changed(row, decision.session)
    assert columns - {"used_before"} <= PROTOCOL or columns == END
    assert "used_before" not in columns or "turned_at" in columns
    assert (decision.session is row) == (columns == set())


@given(rows, tokens, times, policies)
def test_what_is_handed_out_is_alive_and_in_order(
    row: Session, presented: int, now: int, policy: Policy
) -> None:
    """A token in an answer is one of the children, and the marks keep their order."""
    decision = decide(row, presented, now, policy)
    after = decision.session

    assert after is not None
    assert after.parent < after.first_child <= after.generation
    assert after.previous_parent < after.parent or after.previous_parent < after.generation
    if decision.handed_out is not None:
        assert after.ended_at is None
        assert after.first_child <= decision.handed_out <= after.generation


@given(rows, tokens, times, policies)
def test_tokens_are_handed_out_by_every_verdict_but_three(
    row: Session, presented: int, now: int, policy: Policy
) -> None:
    """Late, reuse and ended hand out nothing."""
    decision = decide(row, presented, now, policy)

    nothing = {Verdict.LATE, Verdict.REUSE, Verdict.ENDED}
    assert (decision.handed_out is None) == (decision.verdict in nothing)


@given(rows, tokens, times, policies)
def test_an_older_token_never_brings_forth_a_generation(
    row: Session, presented: int, now: int, policy: Policy
) -> None:
    """C3: only a child, the parent or a token newer than the row moves a mark."""
    decision = decide(row, min(presented, row.parent - 1), now, policy)

    assert not changed(row, decision.session) & PROTOCOL


@given(living_rows(), st.integers(0, 6), st.integers(31, 1000), st.integers(-30, 30))
def test_a_repeat_inside_the_window_of_a_turn_gives_the_same_token(
    row: Session, choice: int, age: int, later: int
) -> None:
    """A lost answer is given again, as it was, however often it is asked for."""
    row = replace(row, turned_at=TURNED_AT)
    good = [row.parent, *range(row.first_child, row.generation + 1)]
    presented = good[choice % len(good)]

    turn = decide(row, presented, TURNED_AT + age, POLICY)
    repeat = decide(turn.session, presented, TURNED_AT + age + later, POLICY)

    assert turn.verdict in {Verdict.ROTATE, Verdict.RECOVER}
    assert (repeat.verdict, repeat.handed_out) == (Verdict.REPLAY, turn.handed_out)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(-40, 4000)), min_size=1, max_size=30),
    policies,
)
def test_an_ended_session_never_revives(steps: list[tuple[int, int]], policy: Policy) -> None:
    """C7: in any history, after the first reuse or end there is nothing but the end."""
    row: Session | None = AT_LOGIN
    now = TURNED_AT
    over = False

    for presented, pause in steps:
        now += pause
        decision = decide(row, presented, now, policy)
        assert not over or decision.verdict is Verdict.ENDED
        row = decision.session
        over = row is not None and row.ended_at is not None
