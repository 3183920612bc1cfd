"""What each rule makes of a token, as its documentation says."""

from __future__ import annotations

from benchmarks.ledger.rules import RULES, WINDOW, Rule, keyturn
from msgspec.structs import replace

from keyturn.core.model import EndReason, Policy, Session
from keyturn.core.rotation import Decision, Verdict

STRICT, FORKING, LAST, PARENT = RULES[1:]
SIGNED_IN_WITH = 0


def outcome(rule: Rule, *exchanges: tuple[int, int]) -> list[int | None]:
    """What is handed out for each token and time; the last is none where the session is over."""
    row, handed_out = rule.begin(0), []
    for token, now in exchanges:
        row, answer = rule.judge(row, token, now)
        handed_out.append(answer)
        if row is None:
            break
    return handed_out


def test_keyturns_rule_is_the_product_s_own() -> None:
    """The rule asks what it is given, and hands on its answer."""
    asked = []

    def judge(session: Session | None, token: int, now: int, policy: Policy) -> Decision:
        asked.append((token, now, policy))
        return Decision(Verdict.REPLAY, session, 7)

    answer = outcome(keyturn(judge), (SIGNED_IN_WITH, 5))

    assert answer == [7]
    assert asked == [(SIGNED_IN_WITH, 5, Policy())]


def test_keyturns_rule_knows_both_ends() -> None:
    """Reuse ends the session, and so does an end that was reached; *late* does not."""

    def verdict(verdict: Verdict) -> object:
        def judge(session: Session | None, token: int, now: int, policy: Policy) -> Decision:
            assert session is not None
            ended = replace(session, ended_at=now, end_reason=EndReason.IDLE)
            return Decision(verdict, session if verdict is Verdict.LATE else ended)

        rule = keyturn(judge)
        return rule.judge(rule.begin(0), SIGNED_IN_WITH, 0).row

    rows = [verdict(each) for each in (Verdict.REUSE, Verdict.ENDED, Verdict.LATE)]

    assert rows[:2] == [None, None]
    assert isinstance(rows[2], Session)


def test_strict_rotation_takes_a_token_once() -> None:
    """The second use of a token ends the session, however soon."""
    assert outcome(STRICT, (0, 0), (1, 500), (1, 500)) == [1, 2, None]


def test_a_forking_window_begins_a_line_for_each_acceptance() -> None:
    """Both lines live on for themselves."""
    assert outcome(FORKING, (0, 0), (0, WINDOW), (1, 500), (2, 900)) == [1, 2, 3, 4]


def test_a_forking_window_closes() -> None:
    """A used token ends the session when its time is over."""
    assert outcome(FORKING, (0, 0), (0, WINDOW + 1)) == [1, None]


def test_the_last_replay_wins() -> None:
    """A repeat gets a token of its own, and the one before is void."""
    assert outcome(LAST, (0, 0), (0, WINDOW), (2, 500)) == [1, 2, 3]
    assert outcome(LAST, (0, 0), (0, WINDOW), (1, 500)) == [1, 2, None]


def test_the_last_replay_comes_in_time() -> None:
    """Past the window a repeat ends the session."""
    assert outcome(LAST, (0, 0), (0, WINDOW + 1)) == [1, None]


def test_a_parent_is_always_accepted_until_a_child_is_used() -> None:
    """However late; then it and the other children are void."""
    assert outcome(PARENT, (0, 0), (0, 10**6), (1, 10**6)) == [1, 2, 3]
    assert outcome(PARENT, (0, 0), (0, 9), (1, 9), (0, 9)) == [1, 2, 3, None]
    assert outcome(PARENT, (0, 0), (0, 9), (1, 9), (2, 9)) == [1, 2, 3, None]
